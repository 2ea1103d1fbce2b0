//! oxcached(1).

use super::{DATE, name_term, option_term, rows, sentence, source};
use crate::roff::Page;
use crate::tables;
use oxcached::settings::{extended_rows, hash_password_row, option_rows};

/// The page.
pub(crate) fn page() -> String {
    let mut page = Page::new("oxcached", 1, [DATE, &source(), "General Commands Manual"]);
    page.section("Name");
    page.text("oxcached - in-memory key-value cache, a drop-in replacement for memcached");
    page.section("Synopsis");
    page.synopsis(
        "oxcached",
        &["[_options_]", "*--check-config* [_options_]", "*--hash-password* _user_ [_iterations_]"],
    );
    description(&mut page);
    page.section("Options");
    page.text(
        "Long names may be abbreviated where that is unambiguous, except for those that memcached does not have: \
         *--admin*, *--config* and *--check-config*. Of an option that is given more than once the last one counts, \
         unless its description says otherwise.",
    );
    rows(&mut page, &option_rows(), option_term);
    let (words, text) = hash_password_row();
    let words: Vec<&str> = words.split(' ').collect();
    page.row(&format!("*{}* _user_ [_iterations_]", words[0]), &sentence(&text));
    extended(&mut page);
    signals(&mut page);
    files(&mut page);
    examples(&mut page);
    page.section("See also");
    page.text("*oxcached.conf*(5), *oxctl*(1), *memcached*(1), *systemd.unit*(5)");
    page.finish()
}

fn description(page: &mut Page) {
    page.section("Description");
    page.text(
        "*oxcached* keeps items, a key and a value each, in memory, and serves them over memcached's text, meta and \
         binary protocols: by TCP and TLS, UDP and unix sockets. It takes memcached's options and answers as memcached \
         1.6.45 does, so clients, scripts and unit files need no change.",
    );
    page.paragraph(
        "Without options it listens on port 11211 of every address and keeps 64 megabytes of items. Memory is taken as \
         items arrive; when it is full, items that are unlikely to be read again make room. Nothing is written to disk, \
         except with *-e*.",
    );
    page.paragraph(
        "Started as root, it needs *-u*, and becomes that user before it opens a socket. There are no logins unless \
         *-S* or *-Y* ask for them: an address that strangers reach needs one of them, or a firewall.",
    );
}

fn extended(page: &mut Page) {
    page.section("Extended options");
    page.text(
        "*-o* takes names separated by commas, without blanks, and may be repeated. A name that takes no value may have \
         *=1*, *=on*, *=true* or *=yes* behind it.",
    );
    for (topic, subs) in extended_rows() {
        page.part(topic);
        rows(page, &subs, name_term);
    }
    let names: Vec<String> =
        tables::names().into_iter().filter(|row| row.text.is_empty()).map(|row| name_term(&row)).collect();
    page.part("Further names");
    page.text(&format!(
        "memcached's names that restate a default, which *no_modern* or the configuration file may have changed, that \
         say the same in another way (*no_slab_automove*: *slab_automove=0*), or that have no effect any more: {}.",
        names.join(", ")
    ));
}

fn signals(page: &mut Page) {
    page.section("Signals");
    page.term("*SIGTERM*, *SIGINT*", "Stop. Items of a memory file (*-e*) are lost, except with *save_on_term*.");
    page.term("*SIGUSR1*", "Stop in order: with *-e*, the next start serves the items again.");
    page.term("a second one", "With *drain*, ends the wait for requests in flight.");
    page.term(
        "*SIGHUP*",
        "Read the files of users (*-Y*, and of *-S*), the certificates and the token of the admin listener again. What \
         cannot be read stays as it was, with a line on standard error.",
    );
    page.section("Exit status");
    for (code, meaning) in [
        ("0", "The server was stopped, or printed what was asked for."),
        ("1", "An option has a bad value, a file of users or the memory file cannot be used, or a part cannot start."),
        (
            "64",
            "Options contradict each other, a certificate or the configuration file cannot be used, or *-u* is missing.",
        ),
        ("67", "The user of *-u* does not exist."),
        ("71", "An address cannot be listened on, or the system refuses a limit or the change of user."),
    ] {
        page.term(code, meaning);
    }
}

fn files(page: &mut Page) {
    page.section("Files");
    page.term("_/etc/memcached.conf_", "Options of the packaged service, by *--config*; see *oxcached.conf*(5).");
    page.term(
        "_/etc/sysconfig/memcached_",
        "Variables of the packaged service where there is such a file: *PORT*, *USER*, *MAXCONN*, *CACHESIZE*, *OPTIONS*. \
         The unit turns them into options; the program does not read the file.",
    );
    page.term("_file_, _file_.meta", "With *-e*: the items, and what an orderly stop leaves for the next start.");
    page.section("Environment");
    page.term(
        "*MEMCACHED_SASL_PWDB*",
        "With *-S*: the file of users, lines of _user_:_password_ or of *--hash-password*.",
    );
    page.term("*SASL_CONF_PATH*", "With *-S*: folder, or file, of _memcached.conf_, of which *mech_list* counts.");
    page.term(
        "*MEMCACHED_PORT_FILENAME*",
        "File to write the bound ports to, once all sockets listen. For programs that start a server with *-p -1*.",
    );
    page.term(
        "*NOTIFY_SOCKET*, *WATCHDOG_USEC*",
        "Of systemd: where the server says that it is ready, stops and lives.",
    );
    page.term("*RUST_LOG*", "Level of the log on standard error; overrides *-v* for it.");
}

fn examples(page: &mut Page) {
    page.section("Examples");
    page.text(
        "A gigabyte for items, on the loopback interface, with statistics for Prometheus and a dashboard beside it:",
    );
    page.example("oxcached -m 1024 -l 127.0.0.1 --admin=127.0.0.1:11212\ncurl http://127.0.0.1:11212/metrics");
    page.paragraph("What the service would run, before it is restarted:");
    page.example("oxcached --config /etc/memcached.conf --check-config");
    page.paragraph("TLS and logins:");
    page.example(
        "oxcached --hash-password ann >>/etc/oxcached/users\n\
         oxcached -Z -o ssl_chain_cert=chain.pem,ssl_key=key.pem -Y /etc/oxcached/users",
    );
    page.paragraph("Items that outlive a restart of the program:");
    page.example("oxcached -m 4096 -e /dev/shm/oxcached\nkill -USR1 $(pidof oxcached)");
}
