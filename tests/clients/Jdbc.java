// pgjdbc against the endpoint in PGHOST …: every feature its users use. Reports as JSON on the last line.
// With "masks" as its argument it reads and writes the masked tables.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Executors;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Jdbc {
  static final Set<String> REPORT = new LinkedHashSet<>();

  interface Work {
    void run() throws Exception;
  }

  static void same(String what, Object got, Object want) {
    if (!String.valueOf(got).equals(String.valueOf(want))) {
      throw new IllegalStateException(what + ": got " + got + ", want " + want);
    }
    REPORT.add(what);
  }

  static SQLException fails(String what, String state, Work work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      same(what, error.getSQLState(), state);
      return error;
    }
    throw new IllegalStateException(what + ": it ran");
  }

  static Connection open(String... more) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", System.getenv("PGUSER"));
    properties.setProperty("password", System.getenv("PGPASSWORD"));
    properties.setProperty("sslmode", System.getenv("PGSSLMODE"));
    properties.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
    for (int i = 0; i < more.length; i += 2) {
      properties.setProperty(more[i], more[i + 1]);
    }
    return DriverManager.getConnection(
        "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"),
        properties);
  }

  /** Every row as its columns between bars. */
  static String rows(ResultSet rows) throws SQLException {
    List<String> all = new ArrayList<>();
    while (rows.next()) {
      List<String> row = new ArrayList<>();
      for (int i = 1; i <= rows.getMetaData().getColumnCount(); i++) {
        row.add(rows.getString(i));
      }
      all.add(String.join("|", row.stream().map(String::valueOf).toList()));
    }
    return String.join("; ", all);
  }

  static String query(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
      return rows(rows);
    }
  }

  static String names(ResultSet rows, String... columns) throws SQLException {
    List<String> all = new ArrayList<>();
    while (rows.next()) {
      List<String> row = new ArrayList<>();
      for (String column : columns) {
        row.add(rows.getString(column));
      }
      all.add(String.join(" ", row.stream().map(String::valueOf).toList()));
    }
    return String.join(", ", all);
  }

  /** The server is asked for a plan of its own, and values come in binary, from the fifth use on. */
  static void prepared() throws Exception {
    try (Connection c = open();
        PreparedStatement p = c.prepareStatement("SELECT id, amount, note, now() > ? FROM app.orders WHERE id = ?")) {
      for (int i = 1; i <= 12; i++) {
        p.setObject(1, java.time.OffsetDateTime.parse("2020-01-01T00:00:00Z"));
        p.setInt(2, i);
        try (ResultSet rows = p.executeQuery()) {
          same("prepared", rows.next(), true);
          same("prepared", rows.getInt(1), i);
          same("prepared", rows.getBigDecimal(2).compareTo(new BigDecimal("1.5").multiply(BigDecimal.valueOf(i))), 0);
          same("prepared", rows.getString(3), "order " + i);
        }
      }
      same("prepared on the server", p.unwrap(org.postgresql.PGStatement.class).isUseServerPrepare(), true);
      c.createStatement().execute("DEALLOCATE ALL");
      p.setObject(1, java.time.OffsetDateTime.parse("2020-01-01T00:00:00Z"));
      p.setInt(2, 3);
      same("prepared again", rows(p.executeQuery()).startsWith("3|4.50|order 3"), true);
    }
    for (String mode : new String[] {"simple", "extendedForPrepared", "extendedCacheEverything"}) {
      try (Connection c = open("preferQueryMode", mode, "prepareThreshold", "1", "binaryTransfer", "true")) {
        PreparedStatement p = c.prepareStatement("SELECT id, amount FROM app.orders WHERE id = ? AND note = ?");
        for (int i = 1; i < 4; i++) {
          p.setInt(1, 7);
          p.setString(2, "order 7");
          same("mode " + mode, rows(p.executeQuery()), "7|10.50");
        }
        c.createStatement().execute("SELECT 1; SELECT 2");
      }
    }
  }

  static void transactions() throws Exception {
    try (Connection c = open()) {
      c.setAutoCommit(false);
      Statement s = c.createStatement();
      s.executeUpdate("INSERT INTO app.notes VALUES (1, 'kept')");
      Savepoint point = c.setSavepoint("here");
      s.executeUpdate("INSERT INTO app.notes VALUES (2, 'rolled back')");
      c.rollback(point);
      c.releaseSavepoint(c.setSavepoint());
      c.commit();
      same("savepoints", query(c, "SELECT id FROM app.notes"), "1");
      s.executeUpdate("DELETE FROM app.notes");
      c.rollback();
      same("rollback", query(c, "SELECT count(*) FROM app.notes"), "1");
      c.rollback();
      c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      same("isolation", c.getTransactionIsolation(), Connection.TRANSACTION_SERIALIZABLE);
      c.rollback();
      c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
      c.setReadOnly(true);
      fails("read only", "25006", () -> s.executeUpdate("DELETE FROM app.notes"));
      c.rollback();
      c.setReadOnly(false);
      s.executeUpdate("UPDATE app.notes SET body = 'again'");
      c.commit();
    }
    try (Connection c = open("readOnlyMode", "always")) {
      c.setReadOnly(true);
      fails("read only always", "25006", () -> c.createStatement().executeUpdate("DELETE FROM app.notes"));
      // A session's default is only made stricter; the way back that is free is to how the session began.
      SQLException error = fails("read only for good", "42501", () -> c.setReadOnly(false));
      same("read only for good", error.getMessage().contains("RESET goes back"), true);
      c.createStatement().execute("RESET default_transaction_read_only");
      same("read write again", c.createStatement().executeUpdate("UPDATE app.notes SET body = 'always'"), 1);
    }
    for (String autosave : new String[] {"always", "conservative"}) {
      try (Connection c = open("autosave", autosave, "cleanupSavepoints", "true", "prepareThreshold", "1")) {
        c.setAutoCommit(false);
        Statement s = c.createStatement();
        s.executeUpdate("INSERT INTO app.notes VALUES (10, 'first')");
        for (int i = 0; i < 3; i++) {
          fails("twice", "23505", () -> s.executeUpdate("INSERT INTO app.notes VALUES (1, 'twice')"));
          if (autosave.equals("always")) {
            same("autosave", query(c, "SELECT count(*) FROM app.notes"), "2");
            fails("refused with autosave", "42501", () -> query(c, "SELECT token FROM app.card_tokens"));
            same("autosave", query(c, "SELECT count(*) FROM app.notes"), "2");
          } else {
            c.rollback();
          }
        }
        c.rollback();
      }
    }
  }

  static void cursors() throws Exception {
    try (Connection c = open()) {
      c.setAutoCommit(false);
      try (PreparedStatement p = c.prepareStatement("SELECT id FROM app.orders WHERE id > ? ORDER BY id")) {
        p.setFetchSize(7);
        for (int use = 0; use < 7; use++) {
          p.setInt(1, 0);
          int seen = 0;
          try (ResultSet rows = p.executeQuery()) {
            while (rows.next()) {
              seen++;
              same("fetch size", rows.getInt(1), seen);
            }
          }
          same("fetch size", seen, 50);
        }
      }
      Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
      try (ResultSet rows = s.executeQuery("SELECT id, body FROM app.notes")) {
        rows.first();
        rows.updateString("body", "in place");
        rows.updateRow();
      }
      c.commit();
      same("updatable rows", query(c, "SELECT body FROM app.notes"), "in place");
      s = c.createStatement();
      s.execute("DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT id FROM app.orders ORDER BY id");
      c.commit();
      same("held", query(c, "FETCH LAST FROM held"), "50");
      s.execute("CLOSE held");
      c.commit();
    }
  }

  static void batches() throws Exception {
    for (String rewrite : new String[] {"false", "true"}) {
      try (Connection c = open("reWriteBatchedInserts", rewrite)) {
        c.setAutoCommit(false);
        c.createStatement().executeUpdate("DELETE FROM app.notes");
        for (int round = 0; round < 7; round++) {
          try (PreparedStatement p = c.prepareStatement("INSERT INTO app.notes (id, body) VALUES (?, ?)")) {
            for (int i = 0; i < 100; i++) {
              p.setInt(1, round * 1000 + i);
              p.setString(2, i % 9 == 0 ? null : "line " + i);
              p.addBatch();
            }
            same("batch", p.executeBatch().length, 100);
          }
        }
        Statement s = c.createStatement();
        s.addBatch("UPDATE app.notes SET body = 'x' WHERE id < 5");
        s.addBatch("DELETE FROM app.notes WHERE id > 5000");
        same("batch", java.util.Arrays.toString(s.executeBatch()), "[5, 199]");
        c.commit();
        same("batch", query(c, "SELECT count(*) FROM app.notes"), "501");
        c.commit();
        Statement bad = c.createStatement();
        bad.addBatch("UPDATE app.notes SET body = 'y' WHERE id = 1");
        bad.addBatch("UPDATE app.card_tokens SET token = 'y'");
        bad.addBatch("UPDATE app.notes SET body = 'z' WHERE id = 1");
        SQLException error = fails("refused in a batch", "42501", bad::executeBatch);
        same("refused names the policy", error.getNextException().getMessage().contains("denied by"), true);
        c.rollback();
        same("batch", query(c, "SELECT body FROM app.notes WHERE id = 1"), "x");
      }
    }
    try (Connection c = open()) {
      for (int i = 0; i < 7; i++) {
        PreparedStatement p = c.prepareStatement(
            "INSERT INTO app.orders (customer_id, amount) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS);
        p.setInt(1, 1);
        p.setBigDecimal(2, new BigDecimal("9.99"));
        p.executeUpdate();
        ResultSet keys = p.getGeneratedKeys();
        same("generated keys", keys.next() && keys.getInt("id") > 50, true);
        p = c.prepareStatement("INSERT INTO app.orders (customer_id, amount) VALUES (1, 2)", new String[] {"id", "amount"});
        p.addBatch();
        p.addBatch();
        p.executeBatch();
        same("generated keys", rows(p.getGeneratedKeys()).split("; ").length, 2);
      }
      same("generated keys", c.createStatement().executeUpdate("DELETE FROM app.orders WHERE id > 50"), 21);
      same("currval", query(c, "SELECT currval('app.orders_id_seq') > 50"), "t");
    }
  }

  static void metadata() throws Exception {
    try (Connection c = open()) {
      var m = c.getMetaData();
      String tables = names(m.getTables(null, "app", "%", new String[] {"TABLE", "VIEW", "PARTITIONED TABLE"}), "TABLE_NAME");
      same("tables", tables.contains("customers") && tables.contains("order_lines"), true);
      same("columns", names(m.getColumns(null, "app", "orders", "%"), "COLUMN_NAME", "TYPE_NAME", "IS_NULLABLE", "IS_AUTOINCREMENT"),
          "id serial NO YES, customer_id int4 NO NO, amount numeric NO NO, note text YES NO");
      same("primary keys", names(m.getPrimaryKeys(null, "app", "order_lines"), "COLUMN_NAME", "PK_NAME"),
          "order_id order_lines_pkey, line order_lines_pkey");
      same("imported keys", names(m.getImportedKeys(null, "app", "order_lines"), "PKTABLE_NAME", "FKCOLUMN_NAME"), "orders order_id");
      same("exported keys", names(m.getExportedKeys(null, "app", "orders"), "FKTABLE_NAME"), "order_lines");
      same("cross reference", names(m.getCrossReference(null, "app", "orders", null, "app", "order_lines"), "FKTABLE_NAME"), "order_lines");
      same("indexes", names(m.getIndexInfo(null, "app", "customers", false, true), "INDEX_NAME", "COLUMN_NAME"),
          "customers_email_key email, customers_pkey id");
      same("best row", names(m.getBestRowIdentifier(null, "app", "notes", 2, true), "COLUMN_NAME"), "id");
      same("types", names(m.getTypeInfo(), "TYPE_NAME").contains("int8"), true);
      same("schemas", names(m.getSchemas(), "TABLE_SCHEM").contains("app"), true);
      same("schemas", names(m.getSchemas(null, "ap%"), "TABLE_SCHEM"), "app");
      same("catalogs", names(m.getCatalogs(), "TABLE_CAT").contains("shop"), true);
      m.getTableTypes();
      m.getVersionColumns(null, "app", "notes");
      m.getTablePrivileges(null, "app", "notes");
      m.getColumnPrivileges(null, "app", "notes", "%");
      m.getProcedures(null, "app", "%");
      m.getProcedureColumns(null, "app", "%", "%");
      m.getFunctions(null, "app", "%");
      m.getFunctionColumns(null, "app", "%", "%");
      m.getUDTs(null, "app", "%", null);
      m.getClientInfoProperties();
      same("name length", m.getMaxTableNameLength(), 63);
      same("index keys", m.getMaxColumnsInIndex(), 32);
      m.getSQLKeywords();
      m.getNumericFunctions();
      m.getDefaultTransactionIsolation();
      m.getUserName();
      REPORT.add("metadata");
      var result = c.prepareStatement("SELECT id, amount AS what FROM app.orders WHERE id = ?").getMetaData();
      same("result columns", result.getColumnName(2) + " " + result.getColumnLabel(2) + " " + result.getTableName(1)
              + " " + result.isAutoIncrement(1) + " " + result.isNullable(1), "what what orders true 0");
      PreparedStatement p = c.prepareStatement("SELECT id FROM app.orders WHERE id = ? AND note = ?");
      same("parameters", p.getParameterMetaData().getParameterTypeName(1) + p.getParameterMetaData().getParameterTypeName(2), "int4text");
      c.setSchema("app");
      same("schema", c.getSchema() + " " + query(c, "SELECT count(*) FROM order_lines"), "app 50");
      c.setClientInfo("ApplicationName", "probe");
      same("name", c.getClientInfo("ApplicationName") + query(c, "SHOW application_name"), "probeprobe");
      same("valid", c.isValid(5), true);
    }
  }

  static void types() throws Exception {
    try (Connection c = open("prepareThreshold", "-1")) {
      for (int i = 0; i < 3; i++) {
        PreparedStatement p = c.prepareStatement("SELECT ?::int[], ?::uuid, ?::timestamptz, ?::bytea, ?::jsonb, ?::numeric, ?::bool, ?::date");
        p.setArray(1, c.createArrayOf("int4", new Integer[] {1, 2, 3}));
        p.setObject(2, java.util.UUID.fromString("00000000-0000-0000-0000-00000000002a"));
        p.setObject(3, java.time.OffsetDateTime.parse("2024-05-05T10:00:00Z"));
        p.setBytes(4, new byte[] {1, 2});
        p.setObject(5, "{\"a\": 1}", java.sql.Types.OTHER);
        p.setBigDecimal(6, new BigDecimal("1.50"));
        p.setBoolean(7, true);
        p.setObject(8, java.time.LocalDate.parse("2024-05-05"));
        ResultSet r = p.executeQuery();
        r.next();
        same("types", ((Integer[]) r.getArray(1).getArray()).length + " " + r.getObject(2) + " " + r.getObject(3, java.time.OffsetDateTime.class).toInstant()
                + " " + r.getBytes(4).length + " " + r.getString(5) + " " + r.getBigDecimal(6) + " " + r.getBoolean(7) + " " + r.getObject(8, java.time.LocalDate.class),
            "3 00000000-0000-0000-0000-00000000002a 2024-05-05T10:00:00Z 2 {\"a\": 1} 1.50 true 2024-05-05");
      }
      PreparedStatement p = c.prepareStatement("SELECT count(*) FROM app.orders WHERE id = ANY (?)");
      p.setArray(1, c.createArrayOf("int4", new Integer[] {1, 2, 3}));
      same("arrays", rows(p.executeQuery()), "3");
      // A type that the driver does not know is looked up.
      same("enum of the catalog", query(c, "SELECT 'a'::name, '{x}'::name[]"), "a|{x}");
    }
  }

  static void copies() throws Exception {
    try (Connection c = open()) {
      c.createStatement().execute("TRUNCATE app.notes");
      CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
      StringBuilder lines = new StringBuilder();
      for (int i = 0; i < 2000; i++) {
        lines.append(i).append("\tnote ").append(i).append('\n');
      }
      same("copy in", copy.copyIn("COPY app.notes FROM STDIN", new StringReader(lines.toString())), 2000);
      StringWriter out = new StringWriter();
      same("copy out", copy.copyOut("COPY app.notes TO STDOUT WITH (FORMAT csv)", out), 2000);
      same("copy out", out.toString().lines().count(), 2000);
      fails("refused copy in", "42501", () -> copy.copyIn("COPY app.card_tokens FROM STDIN", new StringReader("9\tx\n")));
      fails("refused copy out", "42501", () -> copy.copyOut("COPY app.card_tokens TO STDOUT", new StringWriter()));
      var in = copy.copyIn("COPY app.notes FROM STDIN");
      in.writeToCopy("9999\tno\n".getBytes(), 0, 8);
      in.cancelCopy();
      same("copy given up", query(c, "SELECT count(*) FROM app.notes"), "2000");
    }
  }

  static void cancelling() throws Exception {
    try (Connection c = open()) {
      String slow = "SELECT count(*) FROM app.notes a, app.notes b, app.notes c";
      Statement s = c.createStatement();
      s.setQueryTimeout(1);
      fails("query timeout", "57014", () -> s.executeQuery(slow));
      same("query timeout", query(c, "SELECT 1"), "1");
      Statement other = c.createStatement();
      Thread thread = new Thread(() -> {
        try {
          while (true) {
            Thread.sleep(100);
            other.cancel();
          }
        } catch (InterruptedException | SQLException over) {
          // The statement has ended.
        }
      });
      thread.start();
      fails("cancel", "57014", () -> other.executeQuery(slow));
      thread.interrupt();
      thread.join();
      var executor = Executors.newSingleThreadExecutor();
      c.setNetworkTimeout(executor, 60_000);
      same("network timeout", c.getNetworkTimeout() + query(c, "SELECT 1"), "600001");
      executor.shutdown();
    }
    try (Connection c = open("options", "-c statement_timeout=500ms")) {
      fails("statement timeout", "57014", () -> query(c, "SELECT count(*) FROM app.notes a, app.notes b, app.notes c"));
    }
  }

  static void listening() throws Exception {
    try (Connection c = open()) {
      c.createStatement().execute("LISTEN \"app.orders\"");
      c.createStatement().execute("NOTIFY \"app.orders\", 'hello'");
      var heard = c.unwrap(PGConnection.class).getNotifications(5000);
      same("listen", heard.length + " " + heard[0].getName() + " " + heard[0].getParameter(), "1 app.orders hello");
      same("pid", query(c, "SELECT pg_backend_pid()"), c.unwrap(PGConnection.class).getBackendPID());
      c.createStatement().execute("UNLISTEN *");
    }
  }

  /** What pools say between two uses of a connection. */
  static void pools() throws Exception {
    try (Connection c = open()) {
      for (String reset : new String[] {"CLOSE ALL", "RESET ALL", "UNLISTEN *", "DEALLOCATE ALL", "SELECT 1", "DISCARD ALL"}) {
        c.createStatement().execute(reset);
        same("pool", query(c, "SELECT count(*) FROM app.orders"), "50");
      }
      c.createStatement().execute("SET synchronous_commit = off");
      c.createStatement().execute("SELECT nextval('app.orders_id_seq')");
      same("lastval", query(c, "SELECT lastval() = currval('app.orders_id_seq')"), "t");
    }
  }

  static void masks() throws Exception {
    String whole = "1|Ann|x***@example.test|+00 000 CANARY 000|***************1234|1980-01-01|1000.00|cross";
    for (String[] properties : new String[][] {
        {}, {"prepareThreshold", "-1"}, {"preferQueryMode", "simple"}, {"preferQueryMode", "extendedCacheEverything"}}) {
      try (Connection c = open(properties)) {
        for (int i = 0; i < 8; i++) {
          PreparedStatement p = c.prepareStatement(
              "SELECT id, name, email, phone, card, born, salary, mood FROM crm.people WHERE id = ?");
          p.setInt(1, 1);
          String seen = rows(p.executeQuery());
          same("masks", seen, whole);
        }
        c.setAutoCommit(false);
        PreparedStatement p = c.prepareStatement("SELECT * FROM crm.parted ORDER BY id");
        p.setFetchSize(1);
        same("masked cursor", rows(p.executeQuery()), "1|2024-05-05|***");
        p.executeQuery();
        c.commit();
        same("masked update", c.createStatement().executeUpdate("UPDATE crm.people SET name = 'Ann' WHERE id = 1"), 1);
        c.rollback();
      }
    }
    try (Connection c = open()) {
      var m = c.getMetaData();
      same("columns", names(m.getColumns(null, "crm", "people", "%"), "COLUMN_NAME").startsWith("id, name, email, phone, card"), true);
      same("primary keys", names(m.getPrimaryKeys(null, "crm", "people"), "COLUMN_NAME"), "id");
      same("imported keys", names(m.getImportedKeys(null, "crm", "orders"), "PKTABLE_NAME"), "people");
      m.getIndexInfo(null, "crm", "people", false, true);
      m.getTables(null, "crm", "%", null);
      ResultSet r = c.prepareStatement("SELECT email, born, mood FROM crm.people WHERE id = 1").executeQuery();
      same("result columns", r.getMetaData().getColumnTypeName(1) + " " + r.getMetaData().getColumnTypeName(2), "varchar date");
      StringWriter out = new StringWriter();
      c.unwrap(PGConnection.class).getCopyAPI().copyOut("COPY (SELECT id, email FROM crm.people) TO STDOUT", out);
      same("copy out", out.toString().contains("canary"), false);
      Statement s = c.createStatement();
      s.executeUpdate("INSERT INTO crm.orders VALUES (77, 1, 'jdbc', 1)", Statement.RETURN_GENERATED_KEYS);
      same("keys", rows(s.getGeneratedKeys()), "77|1|jdbc|1");
      s.executeUpdate("DELETE FROM crm.orders WHERE id = 77");
      for (String reset : new String[] {"DISCARD ALL", "RESET ALL"}) {
        s.execute(reset);
        same("masked after " + reset, query(c, "SELECT card FROM crm.people WHERE id = 1"), "***************1234");
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    List<Work> all = arguments.length > 0
        ? List.of(Jdbc::masks)
        : List.of(Jdbc::prepared, Jdbc::transactions, Jdbc::cursors, Jdbc::batches, Jdbc::metadata, Jdbc::types,
            Jdbc::copies, Jdbc::cancelling, Jdbc::listening, Jdbc::pools);
    boolean failed = false;
    for (Work work : all) {
      try {
        work.run();
      } catch (Exception error) {
        failed = true;
        error.printStackTrace();
      }
    }
    System.out.println("{" + String.join(", ", REPORT.stream().map(part -> "\"" + part + "\": true").toList()) + "}");
    System.exit(failed ? 1 : 0);
  }
}
