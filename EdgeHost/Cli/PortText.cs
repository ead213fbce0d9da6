using System.Globalization;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary>The ports of a container in one cell, as docker's <c>ps</c> has them: <c>0.0.0.0:80-82->80-82/tcp, [::]:8080->80/tcp, 9000/udp</c>.</summary>
internal static class PortText
{
    internal static string Of(JsonElement container)
    {
        if (container.Member("Ports") is not { ValueKind: JsonValueKind.Array } ports)
        {
            return string.Empty;
        }

        // Sorted as an array: the first List<T>.Sort of a program brings a quarter of a megabyte with it.
        var all = new Run[ports.GetArrayLength()];
        for (var i = 0; i < all.Length; i++)
        {
            all[i] = new Run(ports[i].Text("IP"), ports[i].Text("Type"), ports[i].Number("PrivatePort"), ports[i].Number("PublicPort"));
        }

        Array.Sort(all, Run.Compare);
        var runs = new List<Run>();
        var others = new List<string>();
        foreach (var run in all)
        {
            if (run.Address.Length > 0 && run.Public != run.First)
            {
                others.Add(string.Create(CultureInfo.InvariantCulture, $"{Host(run.Address)}:{run.Public}->{run.First}/{run.Type}"));
            }
            else if (runs.FindLast(each => each.Address == run.Address && each.Type == run.Type) is { } before && before.Last == run.First - 1)
            {
                before.Last = run.First;
            }
            else
            {
                runs.Add(run);
            }
        }

        return string.Join(", ", runs.Select(run => run.ToString()).Concat(others));
    }

    private static string Host(string address) => address.Contains(':', StringComparison.Ordinal) ? $"[{address}]" : address;

    /// <summary>Ports that follow one another and are the same on both sides.</summary>
    private sealed class Run(string address, string type, long first, long published)
    {
        internal string Address => address;

        internal string Type => type;

        internal long Public => published;

        internal long First { get; } = first;

        internal long Last { get; set; } = first;

        internal static int Compare(Run a, Run b)
        {
            var order = a.First.CompareTo(b.First);
            order = order != 0 ? order : string.CompareOrdinal(a.Address, b.Address);
            order = order != 0 ? order : a.Public.CompareTo(b.Public);
            return order != 0 ? order : string.CompareOrdinal(a.Type, b.Type);
        }

        public override string ToString()
        {
            var ports = Last == First ? First.ToString(CultureInfo.InvariantCulture) : string.Create(CultureInfo.InvariantCulture, $"{First}-{Last}");
            return address.Length == 0 ? $"{ports}/{type}" : $"{Host(address)}:{ports}->{ports}/{type}";
        }
    }
}
