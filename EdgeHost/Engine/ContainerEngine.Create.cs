using System.Security.Cryptography;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Engine;

/// <summary>Making, renaming and removing.</summary>
public sealed partial class ContainerEngine
{

    // At its own end the output is owed to who runs it in the foreground; who removes it by hand does not wait long for
    // a reader that has stopped reading, such as a pager.
    private static readonly TimeSpan PatienceAtItsEnd = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan PatienceByHand = TimeSpan.FromSeconds(2);

    /// <inheritdoc/>
    public async Task<string> CreateAsync(ContainerSpec spec, CancellationToken cancel)
    {
        var image = _images.Find(spec.Image) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {spec.Image}");
        ContainerSpecCheck.Require(spec);
        RequireAppArmor(spec);
        var id = RandomNumberGenerator.GetHexString(64, lowercase: true);
        var anonymous = new List<string>();
        spec = NameNetworks(spec) with { Mounts = MountsOf(spec, image.Config, anonymous) };
        var record = new ContainerRecord
        {
            Id = id,
            Name = spec.Name is { Length: > 0 } name ? ContainerNames.Check(name) : string.Empty,
            Spec = spec,
            Effective = EffectiveSpec.Of(spec, image.Config.Config),
            ImageId = image.Id.ToString(),
            Created = DateTimeOffset.UtcNow,
            Arguments = RuntimeSpecBuilder.ArgumentsOf(spec, image.Config),
            StopSignal = Signals.Parse(spec.StopSignal is { Length: > 0 } signal ? signal : image.Config.Config.StopSignal is { Length: > 0 } its ? its : "SIGTERM"),
            AnonymousVolumes = anonymous,
            BootId = SystemIdentity.BootId,
        };

        // Known from here on, and nobody's to start until it is whole.
        var container = new Container(record);
        using var turn = await container.TakeTurnAsync(cancel).ConfigureAwait(false);
        lock (_naming)
        {
            if (record.Name.Length == 0)
            {
                do
                {
                    record = record with { Name = ContainerNames.Generate() };
                }
                while (_containers.Values.Any(other => other.Record.Name == record.Name && !other.Removed));
            }

            CheckNameIsFree(record.Name);
            record = GiveUsers(record);
            container.Set(record);
            _containers[id] = container;
        }

        var made = new List<string>();
        try
        {
            var snapshot = _images.Prepare(record.ImageId, id, durable: ContainerFiles.IsDurable(record));
            if (spec.Mounts.Any(mount => mount.Kind == ContainerMountKind.Volume))
            {
                // What an image has there may be large: it is copied on a thread that nobody else waits for.
                await Task.Run(() => PrepareVolumes(record, snapshot, made, cancel), cancel).ConfigureAwait(false);
            }

            _files.SaveFacts(record);
        }
        catch
        {
            _containers.TryRemove(id, out _);
            container.Set(record, removed: true);
            made.ForEach(volume => _volumes.RemoveWith(volume, id));
            Erase(record, removeAnonymousVolumes: true);
            throw;
        }

        Tell(record, "create");
        return id;
    }

    private void PrepareVolumes(ContainerRecord record, ContainerSnapshot snapshot, List<string> made, CancellationToken cancel)
    {
        foreach (var mount in record.Spec.Mounts.Where(mount => mount.Kind == ContainerMountKind.Volume))
        {
            var anonymous = record.AnonymousVolumes.Contains(mount.Source);
            if (_volumes.Prepare(mount.Source, anonymous, mount.NoCopy ? null : snapshot.LowerDirectories, mount.Target, cancel))
            {
                made.Add(mount.Source);
            }
        }
    }

    /// <inheritdoc/>
    public async Task RenameAsync(string container, string name, CancellationToken cancel)
    {
        var found = Find(container);
        name = ContainerNames.Check(name);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        var old = found.Record.Name;
        lock (_naming)
        {
            CheckNameIsFree(name);
            var sandbox = _networks.Rename(found.Record.Id, old, name);
            try
            {
                Change(found, record => record with { Name = name, Sandbox = sandbox ?? record.Sandbox });
            }
            catch
            {
                _networks.Rename(found.Record.Id, name, old);
                throw;
            }
        }

        Tell(found.Record, "rename", ("oldName", "/" + old));
    }

    /// <inheritdoc/>
    public async Task RemoveAsync(string container, bool force, bool removeAnonymousVolumes, CancellationToken cancel)
    {
        var found = Find(container);
        if (found.Record.State == ContainerState.Restarting && !force)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict, $"cannot remove container \"{found.Record.Name}\": container is restarting: stop the container before removing or force remove");
        }

        if (found.IsRunning && !force)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict, $"cannot remove container \"{found.Record.Name}\": container is running: stop the container before removing or force remove");
        }

        while (!await TryRemoveAsync(found, force, removeAnonymousVolumes, cancel).ConfigureAwait(false))
        {
            // Its policy started it between the last look and the turn; ended by hand, it is not started once more.
        }
    }

    /// <returns>False when it runs again meanwhile.</returns>
    private async Task<bool> TryRemoveAsync(Container found, bool force, bool removeAnonymousVolumes, CancellationToken cancel)
    {
        if (found.IsRunning && force)
        {
            await EndAsync(found, Signals.SIGKILL, TimeSpan.Zero, byHand: true, cancel).ConfigureAwait(false);
        }

        IDisposable turn;
        try
        {
            turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
        {
            // It removed itself at its end: what was asked for is so.
            return true;
        }

        using (turn)
        {
            if (!found.IsRunning)
            {
                await RemoveAsync(found, removeAnonymousVolumes, PatienceByHand).ConfigureAwait(false);
                return true;
            }
        }

        return force ? false : throw new EdgeHostException(ErrorKind.Conflict, $"container \"{found.Record.Name}\" was started again meanwhile");
    }

    /// <summary>Removes a container whose turn is held and which does not run.</summary>
    private async Task RemoveAsync(Container container, bool removeAnonymousVolumes, TimeSpan patience)
    {
        CancelRestart(container);
        await LetFollowersFinishAsync(container, patience).ConfigureAwait(false);
        var record = container.Record with { State = ContainerState.Removing };
        container.Set(record);
        try
        {
            Erase(record, removeAnonymousVolumes);
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            Change(container, was => was with { State = ContainerState.Dead, Error = $"it could not be removed whole: {e.Message}" });
            throw;
        }

        _containers.TryRemove(record.Id, out _);
        container.Set(record, removed: true);
        await EndAttachingAsync(container, TakeAttaching(container), runs: false).ConfigureAwait(false);
        Tell(record, "destroy");
    }

    // Who follows its output gets all of it; one that does not read must not keep a container for ever.
    private static async Task LetFollowersFinishAsync(Container container, TimeSpan patience)
    {
        if (container.Followers == 0)
        {
            return;
        }

        using var limit = new CancellationTokenSource(patience);
        try
        {
            await container.WaitUntilAsync(each => each.Followers == 0, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // It loses what it has not read, and is told by the end of its stream.
        }
    }

    private void Erase(ContainerRecord record, bool removeAnonymousVolumes)
    {
        // First: were its layer gone before, a lost power could bring it back without what it had written.
        _files.Forget(record);
        _images.Discard(record.Id);
        if (removeAnonymousVolumes)
        {
            foreach (var volume in record.AnonymousVolumes)
            {
                _volumes.RemoveWith(volume, record.Id);
            }
        }

        _files.Remove(record);
    }

    private void CheckNameIsFree(string name)
    {
        var holder = _containers.Values.FirstOrDefault(other => other.Record.Name == name && !other.Removed);
        if (holder is not null)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict,
                $"Conflict. The container name \"/{name}\" is already in use by container \"{holder.Record.Id}\". You have to remove (or rename) that container to be able to reuse that name.");
        }
    }

    /// <summary>What is mounted: what was asked for, and a volume where the image wants one and nothing else is; what lies in another comes after it.</summary>
    private static List<ContainerMount> MountsOf(ContainerSpec spec, ImageConfig image, List<string> anonymous)
    {
        var asked = spec.Mounts.Select(mount => Whole(mount.Target)).ToHashSet(StringComparer.Ordinal);
        var wanted = image.Config.Volumes.Keys
            .Where(target => target.Length > 0 && asked.Add(Whole(target)))
            .Order(StringComparer.Ordinal)
            .Select(target => new ContainerMount(ContainerMountKind.Volume, string.Empty, Whole(target)));
        return [.. spec.Mounts.Concat(wanted).Select(mount => PrepareMount(mount, anonymous)).OrderBy(mount => Whole(mount.Target).Count(c => c == '/'))];

        // As the image's builder wrote it, a path may be relative, and may end in a slash.
        static string Whole(string target) => "/" + target.Trim('/');
    }

    private static ContainerMount PrepareMount(ContainerMount mount, List<string> anonymous)
    {
        if (mount.Target.Length == 0 || mount.Target[0] != '/' || mount.Target.TrimEnd('/').Length == 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"mount target \"{mount.Target}\" must be an absolute path inside the container, and not /");
        }

        switch (mount.Kind)
        {
            case ContainerMountKind.Bind when mount.MakesSource != true && !Path.Exists(mount.Source):
                throw new EdgeHostException(ErrorKind.Invalid, $"bind source path does not exist: {mount.Source}");
            case ContainerMountKind.Volume when mount.Source.Length == 0:
                var name = VolumeStore.NewAnonymousName();
                anonymous.Add(name);
                return mount with { Source = name };
            case ContainerMountKind.Volume:
                VolumeStore.RequireName(mount.Source);
                return mount;
            default:
                return mount;
        }
    }
}
