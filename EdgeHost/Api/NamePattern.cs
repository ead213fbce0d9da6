using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>
/// A regular expression as docker's filters on names take it, without the half megabyte of .NET's engine: letters,
/// <c>.</c>, <c>[a-z]</c>, <c>[^a-z]</c>, <c>*</c>, <c>+</c>, <c>?</c>, <c>|</c>, groups, <c>^</c>, <c>$</c>, and
/// <c>\</c> before a sign.
/// </summary>
internal sealed class NamePattern
{
    // Patterns that go astray, like (a*)*b, do so exponentially; an honest one takes a few steps for each letter.
    private const int MostSteps = 100_000;
    private const int Deepest = 32;

    private readonly string _pattern;
    private readonly Matcher _whole;
    private int _at;
    private int _depth;
    private int _steps;
    private string _subject = string.Empty;

    /// <summary>Parses.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not such an expression.</exception>
    internal NamePattern(string pattern)
    {
        _pattern = pattern;
        _whole = Alternatives();
        if (_at < pattern.Length)
        {
            throw Bad("a ) without its (");
        }
    }

    private delegate bool Next(int at);

    private delegate bool Matcher(int at, Next next);

    /// <summary>Whether it fits anywhere in a name.</summary>
    internal bool IsIn(string name)
    {
        _subject = name;
        _steps = 0;
        for (var start = 0; start <= name.Length; start++)
        {
            if (_whole(start, _ => true))
            {
                return true;
            }
        }

        return false;
    }

    private Matcher Alternatives()
    {
        if (++_depth > Deepest)
        {
            throw Bad("too many groups in groups");
        }

        var left = Sequence();
        while (_at < _pattern.Length && _pattern[_at] == '|')
        {
            _at++;
            var (one, other) = (left, Sequence());
            left = (at, next) => one(at, next) || other(at, next);
        }

        _depth--;
        return left;
    }

    private Matcher Sequence()
    {
        Matcher sequence = (at, next) => next(at);
        while (_at < _pattern.Length && _pattern[_at] is not ('|' or ')'))
        {
            var (before, part) = (sequence, Repeated(Atom()));
            sequence = (at, next) => before(at, middle => part(middle, next));
        }

        return sequence;
    }

    private Matcher Repeated(Matcher atom)
    {
        if (_at == _pattern.Length || _pattern[_at] is not ('*' or '+' or '?'))
        {
            return atom;
        }

        var sign = _pattern[_at++];
        if (sign == '?')
        {
            return (at, next) => atom(at, next) || next(at);
        }

        // What takes no letter is not done again.
        bool Many(int at, Next next) => Step() && (atom(at, after => after > at && Many(after, next)) || next(at));
        return sign == '*' ? Many : (at, next) => atom(at, after => Many(after, next));
    }

    private Matcher Atom()
    {
        var sign = _pattern[_at++];
        switch (sign)
        {
            case '^':
                return (at, next) => at == 0 && next(at);
            case '$':
                return (at, next) => at == _subject.Length && next(at);
            case '(':
                var group = Alternatives();
                if (_at == _pattern.Length)
                {
                    throw Bad("a ( without its )");
                }

                _at++;
                return group;
            case '[':
                return Set();
            case '*' or '+' or '?' or '{':
                throw Bad($"{sign} is not understood there");
            case '\\':
                sign = _at < _pattern.Length && !char.IsAsciiLetterOrDigit(_pattern[_at]) ? _pattern[_at++] : throw Bad("\\ is understood before a sign only");
                return One(letter => letter == sign);
            case '.':
                return One(_ => true);
            default:
                return One(letter => letter == sign);
        }
    }

    private Matcher Set()
    {
        var isNot = _at < _pattern.Length && _pattern[_at] == '^';
        var from = _at += isNot ? 1 : 0;

        // A bracket that comes first is one of the letters.
        var end = _at < _pattern.Length ? _pattern.IndexOf(']', _at + 1) : -1;
        if (end < 0)
        {
            throw Bad("a [ without its ]");
        }

        var letters = _pattern[from..end];
        _at = end + 1;
        return One(letter => IsAmong(letters, letter) != isNot);
    }

    private static bool IsAmong(string letters, char letter)
    {
        for (var i = 0; i < letters.Length; i++)
        {
            var isRange = i + 2 < letters.Length && letters[i + 1] == '-';
            if (isRange ? letter >= letters[i] && letter <= letters[i + 2] : letter == letters[i])
            {
                return true;
            }

            i += isRange ? 2 : 0;
        }

        return false;
    }

    private Matcher One(Predicate<char> fits) => (at, next) => Step() && at < _subject.Length && fits(_subject[at]) && next(at + 1);

    private bool Step() => ++_steps < MostSteps ? true : throw new EdgeHostException(ErrorKind.Invalid, $"filter {_pattern}: it takes too long; say it with fewer * and +");

    private EdgeHostException Bad(string why) => new(ErrorKind.Invalid, $"filter {_pattern} is not a pattern: {why}");
}
