import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.eclipse.jgit.api.Git;
import org.eclipse.jgit.lib.Ref;
import org.eclipse.jgit.transport.PushResult;
import org.eclipse.jgit.transport.RefSpec;
import org.eclipse.jgit.transport.RemoteRefUpdate;
import org.eclipse.jgit.transport.URIish;
import org.eclipse.jgit.transport.UsernamePasswordCredentialsProvider;

/** JGit, driven by tests/clients/rounds.py: verbs and arguments come as lines split by tabs, an answer is a line. */
public class JGitClient {
	static UsernamePasswordCredentialsProvider who(String url) throws Exception {
		URIish uri = new URIish(url);
		return new UsernamePasswordCredentialsProvider(uri.getUser(), uri.getPass());
	}

	static List<RefSpec> specs(String[] args, int from) {
		List<RefSpec> specs = new ArrayList<>();
		for (String spec : Arrays.asList(args).subList(from, args.length))
			specs.add(new RefSpec(spec));
		return specs;
	}

	static void clone(String url, String folder, int depth) throws Exception {
		if (depth != 0)
			throw new UnsupportedOperationException("no depth in this version");
		Git.cloneRepository().setURI(url).setDirectory(new File(folder)).setCredentialsProvider(who(url)).call().close();
	}

	static void fetch(String[] args) throws Exception {
		try (Git git = Git.open(new File(args[1]))) {
			git.fetch().setRemote(args[2]).setCredentialsProvider(who(args[2])).setRefSpecs(specs(args, 3)).call();
		}
	}

	static String push(String[] args) throws Exception {
		StringBuilder said = new StringBuilder();
		try (Git git = Git.open(new File(args[1]))) {
			for (PushResult result : git.push().setRemote(args[2]).setCredentialsProvider(who(args[2])).setRefSpecs(specs(args, 3)).call())
				for (RemoteRefUpdate update : result.getRemoteUpdates())
					said.append('\t').append(update.getRemoteName()).append('=').append(update.getStatus() == RemoteRefUpdate.Status.OK
						? "ok" : update.getStatus() + " " + update.getMessage());
		}
		return said.toString();
	}

	static String ls(String url) throws Exception {
		StringBuilder said = new StringBuilder();
		for (Ref ref : Git.lsRemoteRepository().setRemote(url).setCredentialsProvider(who(url)).call())
			said.append('\t').append(ref.getName()).append('=').append(ref.getObjectId().name());
		return said.toString();
	}

	public static void main(String[] unused) throws Exception {
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
		for (String line; (line = in.readLine()) != null;) {
			String[] args = line.split("\t", -1);
			String said = "";
			try {
				switch (args[0]) {
				case "clone":
					clone(args[1], args[2], Integer.parseInt(args[3]));
					break;
				case "fetch":
					fetch(args);
					break;
				case "push":
					said = push(args);
					break;
				case "ls":
					said = ls(args[1]);
					break;
				default:
					throw new IllegalArgumentException(args[0]);
				}
				System.out.println("ok" + said);
			} catch (Exception e) {
				System.out.println("error\t" + String.valueOf(e).replaceAll("[\t\n]", " "));
			}
			System.out.flush();
		}
	}
}
