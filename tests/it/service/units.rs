//! The units in `contrib/systemd`, judged by systemd's own tools.

use std::process::Command;

#[test]
fn the_units_are_valid_and_the_services_protected() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/systemd-units");
    let output = Command::new(script).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    match output.status.code() {
        Some(3) => println!("skipped: systemd-analyze is missing"),
        code => assert_eq!(code, Some(0), "{said}"),
    }
}
