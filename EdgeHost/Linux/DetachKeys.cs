using System.Buffers;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>The keys by which who uses the terminal of a program leaves it without ending it; looked for in what is typed.</summary>
public sealed class DetachKeys
{
    /// <summary>Docker's.</summary>
    public const string Usual = "ctrl-p,ctrl-q";

    private readonly byte[] _keys;
    private int _matched;

    private DetachKeys(byte[] keys) => _keys = keys;

    /// <summary>Reads them: characters, and <c>ctrl-</c> with a letter or one of <c>@ [ \ ] ^ _</c>, separated by commas.</summary>
    /// <param name="text">Null or empty for the usual ones.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: something else.</exception>
    public static DetachKeys Parse(string? text)
    {
        text = string.IsNullOrEmpty(text) ? Usual : text;
        var names = text.Split(',');
        var keys = new byte[names.Length];
        for (var i = 0; i < names.Length; i++)
        {
            keys[i] = names[i] switch
            {
                [var one] when one < 0x80 => (byte)one,
                ['c', 't', 'r', 'l', '-', >= 'a' and <= 'z' and var letter] => (byte)(letter - 'a' + 1),
                ['c', 't', 'r', 'l', '-', '@'] => (byte)0,
                ['c', 't', 'r', 'l', '-', >= '[' and <= '_' and var sign] => (byte)(sign - '[' + 27),
                _ => throw new EdgeHostException(ErrorKind.Invalid, $"detach keys \"{text}\": \"{names[i]}\" is not a character or ctrl- with one of a-z @ [ \\ ] ^ _"),
            };
        }

        return new DetachKeys(keys);
    }

    /// <summary>Looks for the keys in what was typed next.</summary>
    /// <param name="typed">What was typed.</param>
    /// <param name="pass">What goes on to the program: keys that may be the beginning of the sequence wait for the next one.</param>
    /// <returns>Whether the sequence is complete.</returns>
    public bool Scan(ReadOnlySpan<byte> typed, ArrayBufferWriter<byte> pass)
    {
        foreach (var key in typed)
        {
            while (_matched > 0 && key != _keys[_matched])
            {
                // What was typed may still end with a shorter beginning of them.
                var shorter = _matched - 1;
                while (!_keys.AsSpan(0, shorter).SequenceEqual(_keys.AsSpan(_matched - shorter, shorter)))
                {
                    shorter--;
                }

                pass.Write(_keys.AsSpan(0, _matched - shorter));
                _matched = shorter;
            }

            if (key != _keys[_matched])
            {
                pass.Write([key]);
            }
            else if (++_matched == _keys.Length)
            {
                _matched = 0;
                return true;
            }
        }

        return false;
    }
}
