import java.util.zip.GZIPOutputStream;

/** Compresses standard input to standard output with java.util.zip at a level: {@code java Gzip.java 6}. */
class Gzip {
    public static void main(String[] arguments) throws Exception {
        int level = Integer.parseInt(arguments[0]);
        try (GZIPOutputStream out = new GZIPOutputStream(System.out) {{ def.setLevel(level); }}) {
            System.in.transferTo(out);
        }
    }
}
