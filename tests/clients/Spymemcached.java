// spymemcached against a running server: text, or the binary protocol if MEMC_PROTOCOL is binary.
// Run by scripts/clients through with-server; the lines printed are those of harness.py.

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;
import net.spy.memcached.transcoders.SerializingTranscoder;

public class Spymemcached {
    interface Feature { void run() throws Exception; }
    interface Condition { boolean holds() throws Exception; }

    static final boolean BINARY = "binary".equals(System.getenv("MEMC_PROTOCOL"));
    static final String HOST = System.getenv("MEMC_HOST");
    static final String LARGE = "0123456789abcdef".repeat((1024 * 1024 - 512) / 16);
    static final String TOO_LARGE = "x".repeat(1024 * 1024);
    static final Map<String, Feature> FEATURES = new LinkedHashMap<>();

    static ConnectionFactoryBuilder options() {
        // values keep their length, and the server decides what is too large
        SerializingTranscoder plain = new SerializingTranscoder(8 << 20);
        plain.setCompressionThreshold(Integer.MAX_VALUE);
        return new ConnectionFactoryBuilder()
            .setProtocol(BINARY ? ConnectionFactoryBuilder.Protocol.BINARY : ConnectionFactoryBuilder.Protocol.TEXT)
            .setTranscoder(plain).setOpTimeout(20000).setDaemon(true);
    }

    static MemcachedClient client(ConnectionFactoryBuilder options, String port) throws Exception {
        return new MemcachedClient(options.build(), List.of(new InetSocketAddress(HOST, Integer.parseInt(port))));
    }

    static void same(Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new AssertionError("got " + shown(got) + ", wanted " + shown(want));
        }
    }

    static String shown(Object value) {
        String text = String.valueOf(value);
        return text.length() < 80 ? text : text.substring(0, 80);
    }

    // A refusal is a false answer or an exception.
    static void refused(Future<Boolean> answer) throws Exception {
        boolean yes;
        try {
            yes = answer.get(20, TimeUnit.SECONDS);
        } catch (java.util.concurrent.ExecutionException refusal) {
            yes = false;
        }
        same(yes, false);
    }

    // Waits for a condition that depends on time, such as expiry.
    static void eventually(Condition condition) throws Exception {
        long deadline = System.nanoTime() + 6_000_000_000L;
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("still not so after 6 seconds");
            }
            Thread.sleep(50);
        }
    }

    static void declare(MemcachedClient c) {
        FEATURES.put("set", () -> {
            same(c.set("set", 0, "one").get(), true);
            same(c.set("set", 0, "two").get(), true);
            same(c.get("set"), "two");
            same(c.set("empty", 0, "").get(), true);
            same(c.get("empty"), "");
        });
        FEATURES.put("get", () -> {
            same(c.get("get-nothing"), null);
            byte[] bytes = {0, 13, 10, 69, 78, 68, 13, 10, -1};
            same(c.set("get", 0, bytes).get(), true);
            same(Arrays.equals((byte[]) c.get("get"), bytes), true);
            same(c.asyncGet("set").get(), "two");
        });
        FEATURES.put("multi", () -> {
            Map<String, Object> pairs = new LinkedHashMap<>();
            List<Future<Boolean>> answers = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                pairs.put("multi" + i, "value " + i);
                answers.add(c.set("multi" + i, 0, "value " + i));
            }
            for (Future<Boolean> answer : answers) {
                same(answer.get(), true);
            }
            List<String> names = new ArrayList<>(pairs.keySet());
            names.add("multi-nothing");
            same(c.getBulk(names), pairs);
        });
        FEATURES.put("add", () -> {
            same(c.add("add", 0, "1").get(), true);
            same(c.add("add", 0, "2").get(), false);
            same(c.get("add"), "1");
        });
        FEATURES.put("replace", () -> {
            same(c.replace("replace", 0, "1").get(), false);
            c.set("replace", 0, "1").get();
            same(c.replace("replace", 0, "22").get(), true);
            same(c.get("replace"), "22");
        });
        FEATURES.put("append", () -> {
            same(c.append("append", "x").get(), false);
            c.set("append", 0, "a").get();
            same(c.append("append", "b".repeat(5000)).get(), true);
            same(c.get("append"), "a" + "b".repeat(5000));
        });
        FEATURES.put("prepend", () -> {
            same(c.prepend("prepend", "x").get(), false);
            c.set("prepend", 0, "z").get();
            same(c.prepend("prepend", "y".repeat(5000)).get(), true);
            same(c.get("prepend"), "y".repeat(5000) + "z");
        });
        FEATURES.put("cas", () -> {
            same(c.gets("cas"), null);
            c.set("cas", 0, "1").get();
            CASValue<Object> found = c.gets("cas");
            same(found.getValue(), "1");
            same(c.cas("cas", found.getCas(), "2"), CASResponse.OK);
            same(c.cas("cas", found.getCas(), "3"), CASResponse.EXISTS);
            same(c.cas("cas-nothing", found.getCas(), "4"), CASResponse.NOT_FOUND);
            same(c.get("cas"), "2");
        });
        FEATURES.put("incr", () -> {
            same(c.incr("incr", 1), -1L);
            same(c.incr("incr", 1, 9), 9L);
            same(c.incr("incr", 1), 10L);
            same(c.incr("incr", 1L << 32), (1L << 32) + 10);
        });
        FEATURES.put("decr", () -> {
            same(c.decr("decr", 1), -1L);
            same(c.decr("decr", 1, 10), 10L);
            same(c.decr("decr", 1), 9L);
            same(c.decr("decr", 100), 0L);
        });
        FEATURES.put("touch", () -> {
            same(c.touch("touch", 10).get(), false);
            c.set("touch", 100, "t").get();
            same(c.touch("touch", 1000).get(), true);
            same(c.get("touch"), "t");
        });
        if (BINARY) { // this client has it in the binary protocol only
            FEATURES.put("gat", () -> {
                same(c.getAndTouch("gat-nothing", 10), null);
                c.set("gat", 1, "g").get();
                same(c.getAndTouch("gat", 1000).getValue(), "g");
                c.set("gat-clock", 1, "").get();
                eventually(() -> c.get("gat-clock") == null);
                same(c.get("gat"), "g");
            });
        }
        FEATURES.put("delete", () -> {
            same(c.delete("delete").get(), false);
            c.set("delete", 0, "d").get();
            same(c.delete("delete").get(), true);
            same(c.get("delete"), null);
        });
        FEATURES.put("expiry", () -> {
            c.set("expiry-later", 100, "1").get();
            c.set("expiry-date", (int) (System.currentTimeMillis() / 1000) + 100, "1").get();
            c.set("expiry-soon", 1, "1").get();
            eventually(() -> c.get("expiry-soon") == null);
            same(c.getBulk("expiry-later", "expiry-date").size(), 2);
        });
        FEATURES.put("stats", () -> {
            Map<String, String> before = c.getStats().values().iterator().next();
            c.set("stats", 0, "s").get();
            c.get("stats");
            Map<String, String> after = c.getStats().values().iterator().next();
            same(Long.parseLong(after.get("cmd_set")) - Long.parseLong(before.get("cmd_set")), 1L);
            same(Long.parseLong(after.get("get_hits")) - Long.parseLong(before.get("get_hits")), 1L);
            same(c.getStats("settings").values().iterator().next().get("maxbytes"), "67108864");
        });
        FEATURES.put("version", () -> same(c.getVersions().values().iterator().next(), "1.6.45"));
        FEATURES.put("large", () -> {
            same(c.set("large", 0, LARGE).get(), true);
            same(LARGE.equals(c.get("large")), true);
        });
        FEATURES.put("toolarge", () -> {
            c.set("toolarge", 0, "old").get();
            refused(c.set("toolarge", 0, TOO_LARGE));
            same(c.get("toolarge"), null);
            same(c.set("toolarge", 0, "after").get(), true);
        });
        FEATURES.put("keys", () -> {
            for (String key : List.of("k".repeat(250), "schl\u00fcssel", "a:b/c?d=e,f;{}[]'\"")) {
                same(c.set(key, 0, key).get(), true);
                same(c.get(key), key);
            }
        });
        FEATURES.put("flags", () -> {
            for (Object value : List.of("text", 7, 1L << 40, 1.5, true, new ArrayList<>(List.of(1, "two")))) {
                same(c.set("flags", 0, value).get(), true);
                same(c.get("flags"), value);
            }
            MemcachedClient packing = client(options().setTranscoder(new SerializingTranscoder()), System.getenv("MEMC_PORT"));
            same(packing.set("packed", 0, "compress me ".repeat(10000)).get(), true);
            same("compress me ".repeat(10000).equals(packing.get("packed")), true);
            packing.shutdown();
        });
        String sasl = System.getenv("MEMC_SASL_PORT");
        if (sasl != null) {
            FEATURES.put("sasl", () -> {
                String user = System.getenv("MEMC_USER");
                String password = System.getenv("MEMC_PASSWORD");
                MemcachedClient known = client(login(user, password), sasl);
                same(known.set("sasl", 0, "1").get(), true);
                same(known.get("sasl"), "1");
                known.shutdown();
                MemcachedClient stranger = client(login(user, password + "!"), sasl);
                Object answer;
                try {
                    answer = stranger.asyncGet("sasl").get(3, TimeUnit.SECONDS);
                } catch (Exception refusal) {
                    answer = null;
                }
                same(answer, null);
                stranger.shutdown();
            });
        }
        FEATURES.put("flush", () -> {
            c.set("flush", 0, "1").get();
            if (!BINARY) { // with the binary protocol this client omits the delay
                same(c.flush(1000).get(), true);
                same(c.get("flush"), "1");
            }
            same(c.flush().get(), true);
            same(c.get("flush"), null);
            same(c.set("flush", 0, "2").get(), true);
            same(c.get("flush"), "2");
        });
    }

    static ConnectionFactoryBuilder login(String user, String password) {
        AuthDescriptor plain = new AuthDescriptor(new String[] {"PLAIN"}, new PlainCallbackHandler(user, password));
        return options().setAuthDescriptor(plain).setOpTimeout(5000);
    }

    public static void main(String[] arguments) throws Exception {
        String name = "spymemcached";
        declare(client(options(), System.getenv("MEMC_PORT")));
        System.out.println("plan " + name + " " + String.join(" ", FEATURES.keySet()));
        int failed = 0;
        for (Map.Entry<String, Feature> feature : FEATURES.entrySet()) {
            try {
                feature.getValue().run();
                System.out.println("ok " + name + " " + feature.getKey());
            } catch (Exception | AssertionError error) {
                failed++;
                int line = Arrays.stream(error.getStackTrace())
                    .filter(frame -> frame.getMethodName().startsWith("lambda$")).findFirst()
                    .map(StackTraceElement::getLineNumber).orElse(0);
                String reason = error.toString().replaceAll("\\s+", " ");
                System.out.println("not ok " + name + " " + feature.getKey() + ": line " + line + ": "
                    + reason.substring(0, Math.min(200, reason.length())));
            }
        }
        System.exit(failed == 0 ? 0 : 1);
    }
}
