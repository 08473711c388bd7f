// Liquibase as its command line is used, several commands in one process: each argument is one command with its words.
// "!" in front of a command says that it has to fail. The changelog is changelog.xml in FOLDER where none is named.

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import liquibase.integration.commandline.LiquibaseCommandLine;

public class Liquibase {
  static String escaped(String text) {
    return text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n").replace("\r", "").replace("\t", " ");
  }

  public static void main(String[] commands) {
    PrintStream out = System.out;
    List<String> said = new ArrayList<>();
    for (String command : commands) {
      boolean fails = command.startsWith("!");
      String[] words = (fails ? command.substring(1) : command).split(" ");
      List<String> line = new ArrayList<>(List.of(
          "--show-banner=false",
          "--url=jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE")
              + "?sslmode=verify-full&sslrootcert=" + System.getenv("PGSSLROOTCERT"),
          "--username=" + System.getenv("PGUSER"),
          "--password=" + System.getenv("PGPASSWORD"),
          "--default-schema-name=app",
          "--liquibase-schema-name=app",
          "--search-path=" + System.getenv("FOLDER")));
      line.add(words[0]);
      if (List.of("validate", "status", "update", "rollback-count").contains(words[0]) && !command.contains("--changelog-file")) {
        line.add("--changelog-file=changelog.xml");
      }
      line.addAll(List.of(words).subList(1, words.length));
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      PrintStream both = new PrintStream(bytes, true);
      System.setOut(both);
      System.setErr(both);
      int code = new LiquibaseCommandLine().execute(line.toArray(new String[0]));
      System.setOut(out);
      out.println("=== " + command + ": " + code);
      out.println(bytes);
      if ((code != 0) != fails) {
        System.exit(1);
      }
      said.add("\"" + said.size() + " " + escaped(command) + "\": \"" + escaped(bytes.toString()) + "\"");
    }
    out.println("{" + String.join(", ", said) + "}");
    System.exit(0);
  }
}
