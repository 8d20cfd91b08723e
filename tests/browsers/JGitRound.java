import java.io.File;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.eclipse.jgit.api.Git;
import org.eclipse.jgit.api.errors.TransportException;
import org.eclipse.jgit.lib.ObjectId;
import org.eclipse.jgit.revwalk.RevCommit;
import org.eclipse.jgit.transport.PushResult;
import org.eclipse.jgit.transport.RefSpec;
import org.eclipse.jgit.transport.RemoteRefUpdate;
import org.eclipse.jgit.transport.UsernamePasswordCredentialsProvider;

/** JGit against a server: clone, commit, push, fetch, delete; a reader is refused. Arguments: url, token, reader's token, folder. */
public class JGitRound {
	static void check(boolean condition, String what) {
		if (!condition)
			throw new AssertionError(what);
	}

	static RemoteRefUpdate.Status push(Git git, UsernamePasswordCredentialsProvider who, String spec) throws Exception {
		for (PushResult result : git.push().setCredentialsProvider(who).setRefSpecs(new RefSpec(spec)).call())
			for (RemoteRefUpdate update : result.getRemoteUpdates())
				return update.getStatus();
		throw new AssertionError("a push without a result");
	}

	public static void main(String[] args) throws Exception {
		UsernamePasswordCredentialsProvider writer = new UsernamePasswordCredentialsProvider("x-access-token", args[1]);
		UsernamePasswordCredentialsProvider reader = new UsernamePasswordCredentialsProvider("anyone", args[2]);
		File folder = new File(args[3]);

		try (Git git = Git.cloneRepository().setURI(args[0]).setDirectory(folder).setCredentialsProvider(writer).call()) {
			List<RevCommit> log = new ArrayList<>();
			git.log().call().forEach(log::add);
			check(log.size() == 2, "commits of the clone: " + log.size());
			check(git.tagList().call().size() == 1, "the tag");
			Files.write(new File(folder, "from-jgit").toPath(), "hello from JGit\n".getBytes("UTF-8"));
			git.add().addFilepattern("from-jgit").call();
			ObjectId commit = git.commit().setMessage("from JGit").setAuthor("J", "j@example.com").setCommitter("J", "j@example.com").call();
			try {
				push(git, reader, "refs/heads/main");
				throw new AssertionError("a reader could push");
			} catch (TransportException e) {
				System.out.println("a reader: " + e.getMessage().replaceAll("http://\\S+", "URL"));
			}
			check(push(git, writer, "refs/heads/main") == RemoteRefUpdate.Status.OK, "push");
			check(push(git, writer, "refs/heads/main:refs/heads/by-jgit") == RemoteRefUpdate.Status.OK, "push of a new branch");
			git.fetch().setCredentialsProvider(reader).call();
			check(commit.equals(git.getRepository().resolve("refs/remotes/origin/by-jgit")), "fetch");
			check(push(git, writer, ":refs/heads/by-jgit") == RemoteRefUpdate.Status.OK, "deletion");
			System.out.println("clone, push, a new branch, fetch, deletion");
		}
	}
}
