//! Keeping what a repair changes: files are copied or moved to a folder of their own, durably, before anything is
//! changed. What cannot be read is zeros in the copy. Cold; runs where no broker does.

use super::scan::read_blocks;
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::{self, File, FileOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes that are read or written at once.
const PIECE_BYTES: usize = 1 << 20;

/// The folder of one repair of one partition.
pub(super) struct Backup {
    directory: PathBuf,
    data_directory: PathBuf,
}

impl Backup {
    /// Makes the folder, durably.
    pub async fn begin(data_directory: &Path, directory: &Path) -> io::Result<Backup> {
        runtime::create_directory_all(directory).await?;
        let backup =
            Backup { directory: directory.to_owned(), data_directory: data_directory.to_owned() };
        backup.sync().await?;
        Ok(backup)
    }

    fn place_of(&self, path: &Path) -> PathBuf {
        self.directory.join(path.file_name().unwrap_or_default())
    }

    /// Copies a file, if it is there. The copy's name is durable after `sync`.
    pub async fn copy(&self, path: &Path) -> io::Result<()> {
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let file = match File::open(path, options).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let length = file.length().await?;
        let mut writer = Writer::create(&self.place_of(path)).await?;
        let mut at = 0;
        while at < length {
            let wish = (PIECE_BYTES as u64).min(length - at) as usize;
            let bytes = match file.read_at(at, wish).await {
                Ok(bytes) => bytes,
                Err(_) => read_blocks(&file, at, wish).await?.0,
            };
            if bytes.is_empty() {
                break;
            }
            writer.write(&bytes).await?;
            at += bytes.len() as u64;
            runtime::yield_if_needed().await;
        }
        file.close().await?;
        writer.finish().await
    }

    /// Moves a file, if it is there. Both names are durable after the partition's folder was synced, too.
    pub async fn take(&self, path: &Path) -> io::Result<()> {
        match runtime::rename(path, &self.place_of(path)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Makes durable what the folder holds, and the folder.
    pub async fn sync(&self) -> io::Result<()> {
        let mut directory = self.directory.as_path();
        loop {
            runtime::sync_directory(directory).await?;
            match directory.parent() {
                Some(parent) if directory != self.data_directory => directory = parent,
                _ => return Ok(()),
            }
        }
    }
}

/// A new file, written from its start to its end.
pub(super) struct Writer {
    file: File,
    /// What is not written yet; all before it is.
    rest: Vec<u8>,
    written: u64,
}

impl Writer {
    /// Makes the file; one that an earlier attempt left is removed.
    pub async fn create(path: &Path) -> io::Result<Writer> {
        match runtime::remove_file(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let options = FileOptions { create_new: true, ..FileOptions::default() };
        let file = File::open(path, options).await?;
        Ok(Writer { file, rest: Vec::new(), written: 0 })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rest.extend_from_slice(bytes);
        while self.rest.len() >= PIECE_BYTES {
            let piece = AlignedBuffer::padded(&self.rest[..PIECE_BYTES]).freeze();
            self.file.write_at(&piece, self.written).await?;
            self.written += PIECE_BYTES as u64;
            self.rest.drain(..PIECE_BYTES);
        }
        Ok(())
    }

    /// Writes a part of another file, all of which can be read.
    pub async fn write_from(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let wish = (PIECE_BYTES as u64).min(range.end - at) as usize;
            let bytes = file.read_at(at, wish).await?;
            if bytes.len() < wish {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.write(&bytes).await?;
            at += wish as u64;
            runtime::yield_if_needed().await;
        }
        Ok(())
    }

    /// Ends the file; its contents are durable when this returns.
    pub async fn finish(self) -> io::Result<()> {
        if !self.rest.is_empty() {
            let rest = AlignedBuffer::padded(&self.rest).freeze();
            self.file.write_at(&rest, self.written).await?;
        }
        self.file.truncate(self.written + self.rest.len() as u64).await?;
        self.file.sync().await?;
        self.file.close().await
    }
}
