//! The oxcached binary: command line, process, server, exit code.

use oxcached::auth::{ITERATIONS_DEFAULT, hash_line};
use oxcached::server::{self, Loaded, Server, StartError};
use oxcached::settings::{self, Action, Settings};
use oxcached::sys::service_manager::ServiceManager;
use oxcached::sys::signal::Signals;
use oxcached::sys::{error_text, inherited, panics, pidfile, reserve, say, stderr, terminal};
use std::io::{self, Write};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: reserve::Installed = reserve::Installed;

fn main() -> ExitCode {
    panics::install();
    let code = run();
    stderr::flush(stderr::LINGER);
    code
}

fn run() -> ExitCode {
    match settings::parse(std::env::args_os()) {
        Ok(Action::Run(settings)) => start_and_run(*settings).unwrap_or_else(|e| {
            say(format_args!("{}", e.message));
            exit_code(e.code)
        }),
        Ok(Action::Check { settings, options }) => check(*settings, &options).unwrap_or_else(|e| {
            say(format_args!("{}", e.message));
            exit_code(e.code)
        }),
        Ok(Action::HashPassword { user, iterations }) => hash_password(&user, iterations),
        Ok(Action::Print { text, warnings }) => {
            stderr::write(warnings.concat().as_bytes());
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(exit) => {
            stderr::write(exit.stderr.as_bytes());
            exit_code(exit.code)
        }
    }
}

fn start_and_run(mut settings: Settings) -> Result<ExitCode, StartError> {
    // Before a descriptor is opened.
    let sockets = inherited::take().map_err(|message| StartError { code: 71, message })?;
    // Installed early, so that a signal during start-up stops the server in order.
    let signals = Signals::install().map_err(|e| StartError {
        code: 1,
        message: format!("failed to install signal handlers: {}", error_text(&e)),
    })?;
    stderr::write(settings.warnings.concat().as_bytes());
    start_log(settings.verbose);
    let mut manager = ServiceManager::from_environment();
    settings.keep_directory();
    let tls = server::load_tls(&settings)?;
    server::prepare_process(&settings)?;
    let auth = server::load_auth(&settings)?;
    let cluster = server::load_cluster(&settings)?;
    server::warn_of_limits(&settings);
    server::go_to_work(&settings, manager.as_mut())?;
    server::make_sandbox(&settings)?;
    stderr::start().map_err(|e| StartError { code: 1, message: format!("Can't create thread: {}", error_text(&e)) })?;
    let (pid_file, daemon, locks) =
        (settings.pid_file.as_deref().map(|path| settings.locate(path)), settings.daemonize, settings.lock_memory);
    let server = Server::start_with(settings, Loaded { tls, auth, cluster, sockets, manager })?;
    if locks {
        server::lock_memory();
    }
    if let Some(path) = &pid_file {
        pidfile::write(path);
    }
    server::enter_sandbox();
    let ran = server.run(Some(signals));
    if let Some(path) = pid_file.filter(|_| daemon) {
        pidfile::remove(&path);
    }
    Ok(if ran.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `--check-config`: does what a start does before it has an effect outside of the process, then prints the options.
fn check(mut settings: Settings, options: &str) -> Result<ExitCode, StartError> {
    stderr::write(settings.warnings.concat().as_bytes());
    start_log(settings.verbose);
    settings.keep_directory();
    server::load_tls(&settings)?;
    server::prepare_process(&settings)?;
    server::load_auth(&settings)?;
    server::load_cluster(&settings)?;
    server::check_files(&settings)?;
    Ok(if io::stdout().write_all(options.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `--hash-password`: reads a password and prints its line for a file of users.
fn hash_password(user: &str, iterations: Option<u32>) -> ExitCode {
    let line = terminal::read_password(&format!("Password for {user}: "))
        .map_err(|e| error_text(&e))
        .and_then(|password| hash_line(user, &password, iterations.unwrap_or(ITERATIONS_DEFAULT)));
    match line {
        Ok(line) => match writeln!(io::stdout(), "{line}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(complaint) => {
            say(format_args!("{complaint}"));
            ExitCode::FAILURE
        }
    }
}

/// Sends internal log lines to stderr: errors always, more with each `-v`; `RUST_LOG` overrides the level.
fn start_log(verbose: i32) {
    let level = match verbose {
        0 => log::LevelFilter::Error,
        1 => log::LevelFilter::Warn,
        2 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    let target = env_logger::Target::Pipe(Box::new(stderr::Writer));
    env_logger::Builder::new().filter_level(level).parse_default_env().target(target).init();
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
