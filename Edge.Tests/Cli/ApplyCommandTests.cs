using System.Text;
using EdgeHost.Cli;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Cli;

public sealed class ApplyCommandTests
{
    [Theory]
    [InlineData("{\"workloads\":{\"a\":{\"cpus\":0.50}}}", "{\"version\":8,\"workloads\":{\"a\":{\"cpus\":0.50}}}")]
    [InlineData("{\"workloads\":{},\"version\":3}", "{\"version\":8,\"workloads\":{}}")]
    public void A_document_gets_the_next_version_and_keeps_the_rest(string before, string after) =>
        Assert.Equal(after, Encoding.UTF8.GetString(ApplyCommand.WithVersion(Encoding.UTF8.GetBytes(before), 8)));

    [Theory]
    [InlineData("[]")]
    [InlineData("{")]
    public void What_is_no_object_is_refused_before_it_is_published(string document) =>
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => ApplyCommand.WithVersion(Encoding.UTF8.GetBytes(document), 8)).Kind);

    [Fact]
    public void An_empty_document_is_refused_because_it_would_delete_the_retained_one()
    {
        using var error = new StringWriter();
        Assert.Equal(1, CliRoot.Run(["deploy", "/dev/null"], _ => 0, null, error));
        Assert.Equal("edgehost: /dev/null is empty; a device is emptied by a document without workloads\n", error.ToString());
    }
}
