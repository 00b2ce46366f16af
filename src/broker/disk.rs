//! How this broker uses its disk: what the model of it says where the configuration does not, and how long commits may
//! be with a view to what the last life left. On the main thread, while the data directory is this process's alone.

use super::{BrokerError, failed};
use crate::config::{Config, DiskModel, DiskModelAt, DiskSettings, commit_size};
use crate::limits::COMMIT_BYTES_MAX;
use crate::runtime;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The settings of this life. One log line says what the model gave.
///
/// # Errors
/// A model that was asked for by name and is none; what keeps the size of commits from being written down.
pub fn settle(config: &Config) -> Result<DiskSettings, BrokerError> {
    let said = DiskSettings::of(config);
    let taken = match find_model(config)? {
        None => DiskSettings::default(),
        Some((path, model)) => {
            let taken = said.taken_from(&model);
            tracing::info!(
                file = %path.display(),
                commits_in_flight_max = taken.commits_in_flight_max,
                commit_bytes_max = taken.commit_bytes_max,
                file_reads_in_flight_max = taken.file_reads_in_flight_max,
                "took from the model of the disk what the configuration does not say"
            );
            taken
        }
    };
    let settings = said.or(taken);
    let wanted = settings.commit_bytes_max.unwrap_or(COMMIT_BYTES_MAX);
    let commit_bytes_max = Some(settle_commits(&config.data_dir, wanted)?);
    Ok(DiskSettings { commit_bytes_max, ..settings })
}

/// A model that nobody asked for, and that is none, is passed over: it is there for speed only.
fn find_model(config: &Config) -> Result<Option<(PathBuf, DiskModel)>, BrokerError> {
    let (path, is_asked_for) = match &config.disk_model {
        DiskModelAt::None => return Ok(None),
        DiskModelAt::Auto => (config.data_dir.join(DiskModel::FILE_NAME), false),
        DiskModelAt::At(path) => (path.clone(), true),
    };
    let read = read_model(&path);
    let error = match read {
        Err(error) if !is_asked_for && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => error.to_string(),
        Ok(text) => match DiskModel::parse(&text) {
            Ok(model) => return Ok(Some((path, model))),
            Err(wrong) => wrong,
        },
    };
    let file = path.display();
    if is_asked_for {
        let sentence = format!("cannot use {file} as the model of the disk: {error}");
        return Err(BrokerError(sentence));
    }
    tracing::warn!(%file, error,
        "this is no model of a disk; going on without: corelog doctor disk measures anew");
    Ok(None)
}

fn read_model(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let bytes = file.take(DiskModel::FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    match bytes as u64 > DiskModel::FILE_BYTES_MAX {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "longer than a model")),
        false => Ok(text),
    }
}

/// How long commits may be in this life, written down before there is one.
fn settle_commits(directory: &Path, wanted: usize) -> Result<usize, BrokerError> {
    let path = directory.join(commit_size::FILE_NAME);
    let shown = path.display();
    let told = match std::fs::read(&path) {
        Ok(told) => Some(told),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // It is made anew or removed below; until then it says nothing.
        Err(error) => {
            tracing::warn!(file = %shown, %error, "cannot read how long commits were");
            None
        }
    };
    let is_new = !has_partitions(directory)
        .map_err(failed(format!("cannot list {}", directory.display())))?;
    let longest = if is_new { 0 } else { commit_size::longest(told.as_deref()) };
    let bytes = commit_size::in_this_life(longest, wanted);
    if bytes > wanted {
        tracing::info!(
            commit_bytes_max = bytes,
            wanted,
            "logs may end in commits of the former size; the smaller one holds from a start after a clean stop on"
        );
    }
    let unsaid = || {
        let removed = runtime::unlink_file(&path);
        removed.map_err(failed(format!("cannot remove {shown}, which is not so any more")))
    };
    if bytes == COMMIT_BYTES_MAX {
        unsaid()?;
    } else if told.as_deref() != Some(commit_size::show(bytes).as_bytes())
        && let Err(error) = runtime::replace_file(&path, commit_size::show(bytes).as_bytes())
    {
        // As on a full disk. Without the file, the next start takes commits for the longest that there are.
        tracing::warn!(file = %shown, %error, "cannot write down how long commits are");
        unsaid()?;
    }
    Ok(bytes)
}

/// Whether there may be logs here.
fn has_partitions(directory: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let is_named_so = entry.file_name().as_encoded_bytes().contains(&b'-');
        if !is_named_so {
            continue;
        }
        match std::fs::metadata(entry.path()) {
            Ok(found) if !found.is_dir() => {}
            // What cannot be looked at may be one.
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// Writes down that every log was left complete: none ends in a commit that may be torn.
pub fn left_complete(directory: &Path) {
    let path = directory.join(commit_size::FILE_NAME);
    if let Err(error) = runtime::replace_file(&path, commit_size::show(0).as_bytes()) {
        // What it says of this life is right, if not all that could be said.
        tracing::debug!(file = %path.display(), %error, "cannot write down that all logs are complete");
    }
}
