//! The one supported setting of libsasl's configuration file: `mech_list`.
//!
//! Owns where the file is looked for, as memcached and libsasl do, and its parsing. Names without effect are reported
//! to the operator. Read once, at start.

use super::sasl::Mechanism;
use crate::sys::say;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const NAME: &str = "memcached.conf";
const USUAL: [&str; 2] = ["/etc/sasl", "/etc/sasl2"];

/// Mechanisms that the configuration allows, in its order; all of them without `mech_list`.
///
/// # Errors
/// `mech_list` names no supported mechanism.
pub(super) fn mechanisms(env: impl Fn(&str) -> Option<OsString>) -> Result<Vec<Mechanism>, String> {
    let Some((path, text)) = find(env) else { return Ok(Mechanism::ALL.to_vec()) };
    let (wanted, others) = parse(&text);
    for name in others {
        say(format_args!("WARNING: {name} in {} has no effect; see MEMCACHED_SASL_PWDB", path.display()));
    }
    let Some(wanted) = wanted else { return Ok(Mechanism::ALL.to_vec()) };
    if wanted.is_empty() {
        let all = Mechanism::ALL.map(Mechanism::name).join(" ");
        return Err(format!("Error initializing sasl.\nmech_list in {} names none of {all}", path.display()));
    }
    Ok(wanted)
}

fn find(env: impl Fn(&str) -> Option<OsString>) -> Option<(PathBuf, String)> {
    let named = env("SASL_CONF_PATH").map(PathBuf::from);
    let places = named.map_or_else(|| USUAL.map(PathBuf::from).to_vec(), |path| vec![path]);
    let files = places.into_iter().flat_map(|place| [place.join(NAME), place]);
    let mut read = files.filter_map(|file| Some((read(&file)?, file)));
    read.next().map(|(text, file)| (file, text))
}

fn read(file: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned())
}

/// Lines are `name: value`. Returns the mechanisms of `mech_list`, if present, and all other names.
fn parse(text: &str) -> (Option<Vec<Mechanism>>, Vec<&str>) {
    let (mut wanted, mut others) = (None, Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim() {
            "mech_list" => {
                let mut named = Vec::new();
                for mechanism in value.split_whitespace().filter_map(|name| Mechanism::named(name.as_bytes())) {
                    if !named.contains(&mechanism) {
                        named.push(mechanism);
                    }
                }
                wanted = Some(named);
            }
            name => others.push(name),
        }
    }
    (wanted, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mech_list_chooses_and_other_names_are_reported() {
        let (wanted, others) =
            parse("# x: y\nmech_list: plain GSSAPI cram-md5 PLAIN\n\nsasldb_path: /tmp/db\nlog_level: 5");
        assert_eq!(wanted, Some(vec![Mechanism::Plain, Mechanism::CramMd5]), "in its order");
        assert_eq!(others, ["sasldb_path", "log_level"]);
        assert_eq!(parse("pwcheck_method: auxprop"), (None, vec!["pwcheck_method"]));
        assert_eq!(parse("mech_list: gssapi").0, Some(vec![]));
    }

    #[test]
    fn the_file_may_be_named_itself_or_by_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        let all = |path: &Path| mechanisms(|_| Some(path.as_os_str().to_owned()));
        assert_eq!(all(&file).unwrap(), Mechanism::ALL, "no file, no choice");
        std::fs::write(&file, "mech_list: PLAIN").unwrap();
        assert_eq!(all(&file).unwrap(), [Mechanism::Plain]);
        assert_eq!(all(dir.path()).unwrap(), [Mechanism::Plain]);
        std::fs::write(&file, "mech_list: NTLM").unwrap();
        assert!(all(&file).unwrap_err().starts_with("Error initializing sasl.\nmech_list in "));
    }
}
