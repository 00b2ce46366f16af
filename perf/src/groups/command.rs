//! `corelog-perf groups` on the terminal: flags, one thread that drives, the report, the exit code.

use super::conduct;
use super::plan::Flags;
use super::report::Report;
use crate::{facts, process};
use corelog::runtime::{self, ShardThread, StopSignal};
use std::io::Write;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

/// A run that ended but does not count.
const INVALID: u8 = 3;
/// Files beside the members' connections.
const FILES_MORE: u64 = 100;

/// Hold many consumer groups with real connections, and have them rebalance
///
/// Stages: the broker alone, all connected, all joined, then the measured time. In it, members heartbeat and commit at
/// fixed moments from which latencies run. With --storm, so often all groups lose members that come again; how long
/// each group takes to be stable again is told. SIGTERM ends the measured time early. Exit code 3: the run ended, but
/// does not count.
#[derive(Clone, Debug, clap::Args)]
pub struct Groups {
    #[command(flatten)]
    pub flags: Flags,
}

/// # Errors
/// Why there was no measured time.
pub fn run(flags: &Flags) -> Result<ExitCode, String> {
    let plan = flags.check()?;
    let failed = |error: std::io::Error| format!("cannot start: {error}");
    let files = runtime::raise_open_files_limit().map_err(failed)?;
    if files < plan.count() as u64 + FILES_MORE {
        let count = plan.count();
        return Err(format!("{count} connections need more open files than {files} (ulimit -n)"));
    }
    let listening = || {
        let address = plan.bootstrap.first()?;
        let mut found = (address.host.as_str(), address.port).to_socket_addrs().ok()?;
        found.find_map(|address| process::listener(&address))
    };
    let broker = flags.broker_pid.or_else(listening);
    let stop = StopSignal::install().map_err(failed)?;
    // It does not poll before it sleeps: it may share its CPU with what measures.
    let thread = ShardThread { name: "groups".into(), cpu: flags.cpu, spin: Duration::ZERO };
    let driven = runtime::start_shard(&thread, {
        let plan = plan.clone();
        move || async move {
            let tell = |words: &str| eprintln!("{words}");
            let stop = async { drop(stop.wait().await) };
            conduct::drive(plan, broker, tell, stop).await
        }
    });
    let driven = driven.and_then(runtime::ShardHandle::join).map_err(failed)??;
    let report = Report::new(flags, &plan, facts::host(), facts::commit(), driven);
    // Whoever reads may have gone; the file is there then.
    let _ = std::io::stdout().write_all(report.text().as_bytes());
    if let Some(directory) = &flags.out {
        let name = flags.name.as_ref().unwrap_or(&flags.label);
        let path = directory.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&report).expect("a report can be written as JSON");
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(if report.invalid.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}
