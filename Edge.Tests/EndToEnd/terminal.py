# A person at a terminal: terminal.py COMMAND..., with steps on standard input, one a line:
#   wait TEXT    until the terminal has shown it, since the last step that was no wait
#   send TEXT    types it (\r, \x03 and the like as in Python)
#   size R C     changes the size of the terminal, which begins with 24 and 80
#   hangup       goes away: the command is killed
# Prints what the terminal has shown, and in the last line "exit N".
import codecs, fcntl, os, pty, select, signal, struct, sys, termios, time

shown = b''
steps = [line.rstrip('\n') for line in sys.stdin]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])

def size(rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

def more(until):
    global shown
    if not select.select([fd], [], [], max(0, until - time.time()))[0]:
        return False
    try:
        piece = os.read(fd, 65536)
    except OSError:
        piece = b''
    shown += piece
    return piece != b''

size(24, 80)
seen = 0
for step in steps:
    verb, _, text = step.partition(' ')
    text = codecs.escape_decode(text)[0]
    if verb == 'wait':
        limit = time.time() + 60
        while text not in shown[seen:]:
            if not more(limit):
                print(shown.decode(errors='replace'))
                sys.exit('waited in vain for ' + step)
        continue
    seen = len(shown)
    if verb == 'send':
        os.write(fd, text)
    elif verb == 'size':
        size(*map(int, text.split()))
    elif verb == 'hangup':
        os.kill(pid, signal.SIGKILL)
while more(time.time() + 60):
    pass
print(shown.decode(errors='replace'))
print('exit', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
