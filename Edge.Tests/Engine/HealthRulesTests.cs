using EdgeHost.Engine;
using EdgeHost.Oci;
using Xunit;

namespace Edge.Tests.Engine;

/// <summary>Docker's rules of health checks.</summary>
public sealed class HealthRulesTests
{
    private const long Second = 1_000_000_000;

    private static readonly TimeSpan Late = TimeSpan.FromHours(1);

    [Fact]
    public void Three_failures_in_a_row_make_it_unhealthy_and_one_success_makes_it_healthy_at_once()
    {
        var check = new HealthCheck();
        var health = New(HealthState.Starting);

        health = After(health, 1, check, Late);
        health = After(health, 1, check, Late);
        Assert.Equal((HealthState.Starting, 2), (health.State, health.FailingStreak));
        health = After(health, 0, check, Late);
        Assert.Equal((HealthState.Healthy, 0), (health.State, health.FailingStreak));
        health = After(health, 137, check, Late);
        health = After(health, -1, check, Late);
        Assert.Equal((HealthState.Healthy, 2), (health.State, health.FailingStreak));
        health = After(health, 2, check, Late);
        Assert.Equal((HealthState.Unhealthy, 3), (health.State, health.FailingStreak));
        Assert.Equal([0, 137, -1, 2], health.Log.TakeLast(4).Select(result => result.ExitCode));
    }

    [Fact]
    public void Failures_within_the_start_period_count_only_once_it_was_healthy()
    {
        var check = new HealthCheck { StartPeriod = 60 * Second, Retries = 1 };

        Assert.Equal((HealthState.Starting, 0), Of(After(New(HealthState.Starting), 1, check, TimeSpan.FromSeconds(59))));
        Assert.Equal((HealthState.Unhealthy, 1), Of(After(New(HealthState.Starting), 1, check, TimeSpan.FromSeconds(60))));
        Assert.Equal((HealthState.Unhealthy, 1), Of(After(New(HealthState.Healthy), 1, check, TimeSpan.FromSeconds(1))));
    }

    [Fact]
    public void The_last_five_results_are_kept()
    {
        var health = New(HealthState.Starting);
        for (var code = 1; code <= 7; code++)
        {
            health = After(health, code, new HealthCheck(), Late);
        }

        Assert.Equal([3, 4, 5, 6, 7], health.Log.Select(result => result.ExitCode));
        Assert.Equal(7, health.FailingStreak);
    }

    [Fact]
    public void The_start_interval_holds_during_the_start_period_until_it_is_healthy()
    {
        var check = new HealthCheck { StartPeriod = 60 * Second, Interval = 20 * Second };
        var early = TimeSpan.FromSeconds(1);

        Assert.Equal(TimeSpan.FromSeconds(5), HealthRules.PauseOf(check, HealthState.Starting, early));
        Assert.Equal(TimeSpan.FromSeconds(20), HealthRules.PauseOf(check, HealthState.Starting, Late));
        Assert.Equal(TimeSpan.FromSeconds(20), HealthRules.PauseOf(check, HealthState.Healthy, early));
        Assert.Equal(TimeSpan.FromSeconds(30), HealthRules.PauseOf(new HealthCheck(), HealthState.Starting, early));
        Assert.Equal(TimeSpan.FromSeconds(30), HealthRules.TimeoutOf(new HealthCheck()));
        Assert.True(HealthRules.PauseOf(new HealthCheck { Interval = long.MaxValue }, HealthState.Healthy, Late).TotalMilliseconds < int.MaxValue);
    }

    [Fact]
    public void A_line_goes_to_the_shell_of_the_image_and_words_go_to_none()
    {
        Assert.Equal(["/bin/sh", "-c", "a b"], HealthRules.ArgumentsOf(new HealthCheck { Test = ["CMD-SHELL", "a b"] }, []));
        Assert.Equal(["/bin/bash", "-ec", "a b"], HealthRules.ArgumentsOf(new HealthCheck { Test = ["CMD-SHELL", "a b"] }, ["/bin/bash", "-ec"]));
        Assert.Equal(["a", "b"], HealthRules.ArgumentsOf(new HealthCheck { Test = ["CMD", "a", "b"] }, ["/bin/bash"]));
    }

    [Fact]
    public void What_is_not_said_is_as_the_image_says()
    {
        var image = new HealthCheck { Test = ["CMD", "a"], Interval = 1, Timeout = 2, StartPeriod = 3, StartInterval = 4, Retries = 5 };

        var other = new HealthCheck { Timeout = 20 }.Over(image);
        Assert.Equal((1, 20, 3, 4, 5), (other.Interval, other.Timeout, other.StartPeriod, other.StartInterval, other.Retries));
        Assert.Equal(["CMD", "a"], other.Test);
        Assert.True(other.IsOn);
        Assert.False(new HealthCheck { Test = ["NONE"] }.Over(image).IsOn);
        Assert.False(new HealthCheck { Interval = 1 }.Over(null).IsOn);
    }

    [Theory]
    [InlineData(0.001, "1ms")]
    [InlineData(0.5, "500ms")]
    [InlineData(1, "1s")]
    [InlineData(2.5, "2.5s")]
    [InlineData(90, "1m30s")]
    [InlineData(3600, "1h0m0s")]
    public void A_check_that_took_too_long_says_so_as_Docker_does(double seconds, string words)
    {
        Assert.Equal($"Health check exceeded timeout ({words})", HealthRules.TookTooLong(TimeSpan.FromSeconds(seconds), string.Empty));
        Assert.Equal($"Health check exceeded timeout ({words}): y\n", HealthRules.TookTooLong(TimeSpan.FromSeconds(seconds), "y\n"));
    }

    private static ContainerHealth New(HealthState state) => new(state, 0, []);

    private static (HealthState State, int Streak) Of(ContainerHealth health) => (health.State, health.FailingStreak);

    private static ContainerHealth After(ContainerHealth before, int exitCode, HealthCheck check, TimeSpan sinceStart) =>
        HealthRules.After(before, new HealthResult(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch, exitCode, string.Empty), check, sinceStart);
}
