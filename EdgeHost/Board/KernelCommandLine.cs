namespace EdgeHost.Board;

/// <summary>Where the boot loader of this board keeps the command line of the kernel.</summary>
internal static class KernelCommandLine
{
    /// <summary>How to add arguments, for the boot loader that is installed here, in one line.</summary>
    /// <param name="arguments">As in <c>cgroup_enable=memory cgroup_memory=1</c>.</param>
    /// <param name="root">The root directory of the board.</param>
    internal static string HowToAdd(string arguments, string root = "/")
    {
        // Raspberry Pi OS since 12 has the first, before it the second, and then a pointer in the second.
        foreach (var file in (string[])["boot/firmware/cmdline.txt", "boot/cmdline.txt"])
        {
            if (File.Exists(Path.Combine(root, file)))
            {
                return $"add \"{arguments}\" to the end of the one line of /{file} and reboot";
            }
        }

        if (File.Exists(Path.Combine(root, "boot/armbianEnv.txt")))
        {
            return $"add \"{arguments}\" to the line extraargs= of /boot/armbianEnv.txt and reboot";
        }

        if (File.Exists(Path.Combine(root, "boot/extlinux/extlinux.conf")))
        {
            return $"add \"{arguments}\" to the line APPEND of /boot/extlinux/extlinux.conf and reboot";
        }

        return File.Exists(Path.Combine(root, "etc/default/grub"))
            ? $"add \"{arguments}\" to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub and reboot"
            : $"add \"{arguments}\" to the kernel command line in the settings of the boot loader and reboot";
    }
}
