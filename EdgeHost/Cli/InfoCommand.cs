using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost info</c>.</summary>
internal static class InfoCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var format = DocumentTemplate.Option("-f");
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON" };
        var command = new Command("info", "Show what the daemon knows of itself and the board") { format, json };
        command.SetAction(async parsed =>
        {
            var template = DocumentTemplate.Of(parsed.GetValue(format));
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("info");
            var info = answer.RootElement;
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(info.GetRawText());
                return ExitCode.Ok;
            }

            if (template is not null)
            {
                output.WriteLine(template.Text(info));
                return ExitCode.Ok;
            }

            output.WriteLine($"Containers: {info.Number("Containers")}");
            output.WriteLine($" Running: {info.Number("ContainersRunning")}");
            output.WriteLine($" Stopped: {info.Number("ContainersStopped")}");
            output.WriteLine($"Images: {info.Number("Images")}");
            output.WriteLine($"Server Version: {info.Text("ServerVersion")}");
            output.WriteLine($"Storage Driver: {info.Text("Driver")}");
            output.WriteLine($"Cgroup Version: {info.Text("CgroupVersion")}");
            output.WriteLine($"User Namespaces: {info.Text("UserNamespaces")}");
            output.WriteLine($"AppArmor: {info.Text("AppArmor")}");
            output.WriteLine($"Kernel Version: {info.Text("KernelVersion")}");
            output.WriteLine($"Operating System: {info.Text("OperatingSystem")}");
            output.WriteLine($"Architecture: {info.Text("Architecture")}");
            output.WriteLine($"CPUs: {info.Number("NCPU")}");
            output.WriteLine($"Total Memory: {Humanly.Memory(info.Number("MemTotal"))}");
            output.WriteLine($"Name: {info.Text("Name")}");
            output.WriteLine($"Data Directory: {info.Text("DockerRootDir")}");
            foreach (var warning in info.Texts("Warnings"))
            {
                parsed.InvocationConfiguration.Error.WriteLine($"WARNING: {warning}");
            }

            return ExitCode.Ok;
        });
        return command;
    }
}
