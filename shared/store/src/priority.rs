//! What gives way to what people wait for.

/// Priority of threads that give way: 19 is the least, 0 what all others have.
const GIVING_WAY: i32 = 15;

/// Lets the calling thread, and all that it starts from now on, give way to the others of this machine.
pub fn give_way() {
    // On Linux this is the priority of the thread, not of the process.
    if let Err(error) = rustix::process::setpriority_process(None, GIVING_WAY) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}
