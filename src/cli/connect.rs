//! What every command that talks to a cluster has in common: where it is, and an executor to talk on.

use super::Failure;
use crate::client::{Address, Client, ClientError, ClientOptions};
use crate::config::HostPort;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub struct Connect {
    /// Brokers to find the cluster through; one that answers is enough.
    #[arg(
        global = true,
        short = 'b',
        long = "bootstrap",
        visible_alias = "bootstrap-server",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092",
        env = "CORELOG_BOOTSTRAP"
    )]
    bootstrap: Vec<HostPort>,

    /// How long to try, in seconds, before giving up.
    #[arg(global = true, long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl Connect {
    pub fn options(&self) -> ClientOptions {
        let limit = Duration::from_secs(self.timeout);
        let address = |at: &HostPort| Address { host: at.host.clone(), port: at.port };
        ClientOptions {
            bootstrap: self.bootstrap.iter().map(address).collect(),
            client_id: "corelog-cli".to_string(),
            connect_limit: limit.min(Duration::from_secs(10)),
            request_limit: limit,
            operation_limit: limit,
            ..ClientOptions::default()
        }
    }

    /// Runs a command's conversation with the cluster.
    pub fn run<T>(
        &self,
        change: impl FnOnce(&mut ClientOptions),
        talk: impl AsyncFnOnce(Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut options = self.options();
        change(&mut options);
        run_here(async { talk(Client::new(options)).await })
    }
}

#[cfg(not(any(test, feature = "sim")))]
fn run_here<T>(talk: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    crate::runtime::run_local(talk).map_err(|error| no_executor(&error))?
}

#[cfg(not(any(test, feature = "sim")))]
pub fn no_executor(error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "cannot start io_uring ({error}); it needs Linux 5.10 or newer and `ulimit -l` of 512 or more"
    ))
}

#[cfg(any(test, feature = "sim"))]
fn run_here<T>(talk: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    drop(talk);
    Err(Failure::failed("this build runs on the simulation and talks to nobody"))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Failed(error.to_string())
    }
}
