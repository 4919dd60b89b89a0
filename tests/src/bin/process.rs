//! One binary that is the hub, a node or the pilot by its first argument, so that tests start the real programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    let name = std::ffi::OsString::from(format!("liandong-{}", role.to_string_lossy()));
    let args = std::iter::once(name).chain(args);
    match role.to_str() {
        Some("hub") => liandong_hub::cli::main(args),
        Some("node") => liandong_node::cli::main(args),
        _ => ExitCode::from(2),
    }
}
