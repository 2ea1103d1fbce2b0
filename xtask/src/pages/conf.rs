//! oxcached.conf(5).

use super::{DATE, source};
use crate::roff::Page;

/// The page.
pub(crate) fn page() -> String {
    let mut page = Page::new("oxcached.conf", 5, [DATE, &source(), "File Formats Manual"]);
    page.section("Name");
    page.text("oxcached.conf, memcached.conf - configuration file of oxcached");
    page.section("Synopsis");
    page.synopsis("oxcached", &["*--config* _file_ [_options_]"]);
    page.section("Description");
    page.text(
        "The file has options of *oxcached*(1), as on the command line, one or more to a line. Its notation is that of \
         Debian's _/etc/memcached.conf_, which works as it is. No default file is read: *--config* names it.",
    );
    page.paragraph(
        "An option of the command line takes the place of that option in the file, wherever *--config* stands. Where \
         mentions of an option add up (*-l*, *-v*, *admin_host*), those of the command line replace all of the file. \
         Each name of *-o* is an option by itself. Values that are replaced are checked nevertheless.",
    );
    page.paragraph("The file is read once, at the start. It is a regular file of 64 KiB at most.");
    lines(&mut page);
    page.section("Diagnostics");
    page.text(
        "Lines that are left out give a warning on standard error, with file and line, and do not prevent the start. A \
         file that cannot be read, a line that cannot be split into words, and an option that the command line would \
         refuse end the start, with file and line and the exit status of *oxcached*(1).",
    );
    page.paragraph(
        "*oxcached --check-config --config* _file_ checks all of it, and the files that it names, without a start. It \
         prints the options in force, each with its place, in the notation of this file.",
    );
    page.section("Examples");
    page.text("The file of a service:");
    page.example(
        "# 1 GB for items, and as many connections as the service may have\n\
         -m 1024\n\
         -c 16384\n\
         -p 11211\n\
         -l 127.0.0.1,::1\n\
         -u memcache\n\
         -P /run/memcached/memcached.pid\n\
         \n\
         # clients that are silent for ten minutes are closed\n\
         -o idle_timeout=600\n\
         \n\
         # health, metrics and a dashboard, for this machine\n\
         --admin=127.0.0.1:11212",
    );
    page.section("See also");
    page.text("*oxcached*(1), *memcached*(1)");
    page.finish()
}

fn lines(page: &mut Page) {
    page.section("Lines");
    page.term("*#*", "begins a comment, within quotes too, unless a backslash stands before it.");
    page.term("blanks", "around a line do not count, nor do empty lines.");
    page.term(
        "no dash",
        "A line that does not begin with a dash is left out. So is *logfile*: the log goes to standard error, and from \
         there to the journal of the service.",
    );
    page.term(
        "*-d*, *-h*",
        "A line that begins so is left out as a whole: whether the server runs in the background is for its starter to \
         say. *--daemon* counts.",
    );
    page.term(
        "quotes",
        "Words are separated by blanks. Single quotes, double quotes and backslashes work as in *sh*(1), within the line.",
    );
    page.term(
        "*$* *`* *~* *;* *&* *|* *<* *>* *(* *)*",
        "No shell reads the file. Variables, commands and operators are refused; the characters themselves can be quoted, \
         or follow a backslash.",
    );
    page.term(
        "*--config*, *--check-config*, *-V*, *-i*, *--help*, *--hash-password*",
        "Refused: they belong to the command line.",
    );
}
