import java.io.*;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** What pgJDBC does, printed: args[0] is the port, args[1] `masked` for somebody who sees masks. */
public class Jdbc {
    static void say(Object... words) { System.out.println(Arrays.toString(words)); }

    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + args[0] + "/postgres?user=app&prepareThreshold=2";
        try (Connection db = DriverManager.getConnection(url)) {
            if (args.length > 1) masked(db); else everything(db);
        }
    }

    static void masked(Connection db) throws Exception {
        try (PreparedStatement one = db.prepareStatement("SELECT id, email, ssn, born FROM customers WHERE id = ?")) {
            for (int i = 1; i <= 4; i++) { // by name and in binary from the second on
                one.setInt(1, i);
                try (ResultSet rows = one.executeQuery()) {
                    rows.next();
                    say(rows.getInt(1), rows.getString(2), rows.getString(3), rows.getDate(4));
                }
            }
        }
        try (Statement drop = db.createStatement()) {
            drop.execute("DROP TABLE orders");
        } catch (SQLException error) {
            say(error.getSQLState(), error.getMessage().split("\n")[0]);
        }
    }

    static void everything(Connection db) throws Exception {
        DatabaseMetaData meta = db.getMetaData();
        print(meta.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}), 3);
        print(meta.getColumns(null, "public", "customers", "%"), 4, 6);
        print(meta.getPrimaryKeys(null, "public", "customers"), 4);
        print(meta.getImportedKeys(null, "public", "orders"), 3, 4);
        print(meta.getIndexInfo(null, "public", "orders", false, false), 6);
        print(meta.getSchemas(), 1);
        print(meta.getProcedures(null, "public", "%"), 3);
        print(meta.getTypeInfo(), 1);
        say(meta.getDatabaseProductName(), meta.getURL().startsWith("jdbc"));
        try (Statement plain = db.createStatement()) {
            say(plain.executeUpdate("INSERT INTO scratch VALUES (1, 'x'), (2, 'y')"));
            say(plain.execute("SELECT 1; SELECT 2"), plain.getMoreResults());
            plain.executeUpdate("INSERT INTO scratch VALUES (3, 'z')", new String[] {"id"});
            try (ResultSet keys = plain.getGeneratedKeys()) { keys.next(); say(keys.getInt(1)); }
        }
        try (PreparedStatement batch = db.prepareStatement("INSERT INTO scratch VALUES (?, ?)")) {
            for (int i = 0; i < 200; i++) { batch.setInt(1, i); batch.setString(2, "b" + i); batch.addBatch(); }
            say(Arrays.stream(batch.executeBatch()).sum());
        }
        db.setAutoCommit(false);
        try (PreparedStatement many = db.prepareStatement("SELECT id FROM orders WHERE id > ? ORDER BY id")) {
            many.setFetchSize(7); // portals in parts
            many.setInt(1, 50);
            int sum = 0;
            try (ResultSet rows = many.executeQuery()) { while (rows.next()) sum += rows.getInt(1); }
            say(sum);
        }
        Savepoint point = db.setSavepoint("p");
        try (Statement wrong = db.createStatement()) { wrong.executeQuery("SELECT nope"); }
        catch (SQLException error) { say(error.getSQLState()); db.rollback(point); }
        var copies = db.unwrap(PGConnection.class).getCopyAPI();
        say(copies.copyIn("COPY scratch FROM STDIN CSV", new StringReader("7,seven\n8,eight\n")));
        StringWriter out = new StringWriter();
        say(copies.copyOut("COPY (SELECT * FROM scratch WHERE id IN (7, 8) AND body LIKE '%e%' ORDER BY id) TO STDOUT", out), out);
        db.rollback();
        db.setAutoCommit(true);
        try (CallableStatement call = db.prepareCall("{? = call upper(?)}")) {
            call.registerOutParameter(1, Types.VARCHAR); call.setString(2, "up"); call.execute(); say(call.getString(1));
        }
        try (Statement slow = db.createStatement()) {
            slow.setQueryTimeout(1);
            slow.execute("SELECT pg_sleep(20)");
        } catch (SQLException error) { say(error.getSQLState()); }
        try (Statement listen = db.createStatement()) {
            listen.execute("LISTEN news"); listen.execute("NOTIFY news, 'good'");
            for (PGNotification told : db.unwrap(PGConnection.class).getNotifications(5000)) say(told.getName(), told.getParameter());
            listen.executeUpdate("DELETE FROM scratch");
        }
        say(db.isValid(5));
    }

    static void print(ResultSet rows, int... columns) throws SQLException {
        StringBuilder line = new StringBuilder();
        while (rows.next()) for (int column : columns) line.append(rows.getString(column)).append(' ');
        say(line);
        rows.close();
    }
}
