//! `liandong-pilot`: also the hub and the nodes it starts, chosen by the first argument.

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match rest.first().and_then(|first| first.to_str()) {
        Some("hub") => liandong_pilot::city::child(|| liandong_hub::cli::main(rest.into_iter())),
        Some("node") => liandong_pilot::city::child(|| liandong_node::cli::main(rest.into_iter())),
        _ => liandong_pilot::run::main(std::iter::once(program).chain(rest)),
    }
}
