namespace EdgeHost.Linux;

/// <summary>Groups of the host, from <c>/etc/group</c>: group(5).</summary>
public static class SystemGroup
{
    /// <summary>Finds the number of a group.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The number; null when there is no such group.</returns>
    public static uint? Find(string name)
    {
        const string Path = "/etc/group";
        if (!File.Exists(Path))
        {
            return null;
        }

        foreach (var line in File.ReadLines(Path))
        {
            var fields = line.Split(':');
            if (fields.Length >= 3 && fields[0] == name && uint.TryParse(fields[2], out var number))
            {
                return number;
            }
        }

        return null;
    }
}
