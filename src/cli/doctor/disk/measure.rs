//! Measures on the product's runtime: direct I/O on files made for this, which have no name any more once they are
//! open. Whatever ends this process, the kernel frees them; no other file is touched.

use super::plan::{FILES_MAX, Plan, SMALL_BYTES, Shape, Work};
use crate::runtime::buffer::{AlignedBuffer, SharedBuffer};
use crate::runtime::{self, File, FileOptions, Instant};
use futures_util::future::join_all;
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How the names of the files begin, as long as they have some.
pub const FILE_PREFIX: &str = ".doctor-disk-";
/// Writes by which space is filled that is to be read.
const FILL_BYTES: usize = 1 << 20;
const FILL_IN_FLIGHT: usize = 4;

/// What one shape gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub shape: Shape,
    pub count: usize,
    pub per_second: f64,
    pub median: Duration,
    pub p99: Duration,
}

impl Measured {
    /// From what each operation took, and all of them together; there is one at least.
    pub fn of(shape: Shape, mut times: Vec<Duration>, whole: Duration) -> Measured {
        times.sort_unstable();
        let per_second = times.len() as f64 / whole.as_secs_f64().max(1e-9);
        let (median, p99) = (quantile(&times, 50), quantile(&times, 99));
        Measured { shape, count: times.len(), per_second, median, p99 }
    }

    pub fn bytes_per_second(&self) -> f64 {
        self.per_second * self.shape.bytes as f64
    }
}

/// The smallest that so many of a hundred do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// A file without a name, open in both ways.
struct Opened {
    plain: File,
    synced: File,
}

impl Opened {
    async fn make(path: &Path) -> io::Result<Opened> {
        let plain = FileOptions { create_new: true, ..FileOptions::default() };
        let synced = FileOptions { sync_on_write: true, ..FileOptions::default() };
        let plain = File::open(path, plain).await?;
        let synced = File::open(path, synced).await;
        runtime::remove_file(path).await?;
        Ok(Opened { plain, synced: synced? })
    }

    fn for_work(&self, work: Work) -> &File {
        if work == Work::SyncedWrite { &self.synced } else { &self.plain }
    }

    async fn close(self) -> io::Result<()> {
        self.plain.close().await?;
        self.synced.close().await
    }
}

/// Measures all shapes in their order below `directory`, and says after each that it is done.
///
/// # Errors
/// As the system calls. The space is given back then, too.
pub async fn measure(
    directory: &Path,
    shapes: &[Shape],
    plan: &Plan,
    done: &dyn Fn(),
) -> io::Result<Vec<Measured>> {
    remove_left(directory).await?;
    let mut files = Vec::with_capacity(FILES_MAX);
    for number in 0..FILES_MAX {
        let name = format!("{FILE_PREFIX}{number}");
        files.push(Opened::make(&directory.join(name)).await?);
    }
    let mut measured = Vec::with_capacity(shapes.len());
    let mut has_been_read = false;
    for shape in shapes {
        if shape.work != Work::Read || !has_been_read {
            prepare(&files, shape, plan).await?;
        }
        has_been_read = shape.work == Work::Read;
        let (times, whole) = match shape.work {
            Work::Write | Work::SyncedWrite => write(&files, shape, plan).await?,
            Work::Sync => sync(&files[0], plan).await?,
            Work::Read => read(&files[0], shape, plan).await?,
        };
        measured.push(Measured::of(*shape, times, whole));
        done();
    }
    for file in files {
        file.close().await?;
    }
    Ok(measured)
}

/// What a run was killed over between the making of a file and the taking away of its name.
async fn remove_left(directory: &Path) -> io::Result<()> {
    for entry in runtime::list_directory(directory).await? {
        let number = entry.name.strip_prefix(FILE_PREFIX).map(str::parse::<usize>);
        if matches!(number, Some(Ok(_))) && !entry.is_directory {
            runtime::remove_file(&directory.join(&entry.name)).await?;
        }
    }
    Ok(())
}

/// Gives each file of a shape its part of the space, allocated and never written, and all others none. What is read is
/// written first.
async fn prepare(files: &[Opened], shape: &Shape, plan: &Plan) -> io::Result<()> {
    for file in files {
        file.plain.truncate(0).await?;
    }
    for file in &files[..shape.files] {
        file.plain.allocate(part(shape, plan)).await?;
        file.plain.sync().await?;
    }
    if shape.work == Work::Read {
        let fill =
            Shape { work: Work::Write, bytes: FILL_BYTES, in_flight: FILL_IN_FLIGHT, files: 1 };
        let all = Plan { share: Duration::MAX, ..*plan };
        write(files, &fill, &all).await?;
        files[0].plain.sync().await?;
    }
    Ok(())
}

/// Bytes of one file.
fn part(shape: &Shape, plan: &Plan) -> u64 {
    plan.space_bytes / shape.files as u64
}

/// What each operation took, and all together.
type Times = (Vec<Duration>, Duration);

async fn write(files: &[Opened], shape: &Shape, plan: &Plan) -> io::Result<Times> {
    let places: Vec<Cell<u64>> = vec![Cell::new(0); shape.files];
    let buffers: Vec<SharedBuffer> = (0..shape.in_flight).map(|_| noise(shape.bytes)).collect();
    let (length, end) = (shape.bytes as u64, part(shape, plan));
    let began = runtime::now();
    let writers = buffers.iter().enumerate().map(|(writer, buffer)| {
        let (file, place) = (&files[writer % shape.files], &places[writer % shape.files]);
        let file = file.for_work(shape.work);
        async move {
            let mut times = Vec::new();
            while place.get() + length <= end && (times.is_empty() || !is_over(began, plan)) {
                let position = place.replace(place.get() + length);
                let started = runtime::now();
                file.write_at(buffer, position).await?;
                times.push(runtime::now().since(started));
            }
            Ok::<_, io::Error>(times)
        }
    });
    all_of(began, join_all(writers).await)
}

async fn sync(file: &Opened, plan: &Plan) -> io::Result<Times> {
    let buffer = noise(SMALL_BYTES);
    let (began, mut times, mut position) = (runtime::now(), Vec::new(), 0);
    while position < plan.space_bytes && (times.is_empty() || !is_over(began, plan)) {
        file.plain.write_at(&buffer, position).await?;
        position += SMALL_BYTES as u64;
        let started = runtime::now();
        file.plain.sync().await?;
        times.push(runtime::now().since(started));
    }
    // The writes are none of it.
    let whole = times.iter().sum();
    Ok((times, whole))
}

async fn read(file: &Opened, shape: &Shape, plan: &Plan) -> io::Result<Times> {
    let (place, length) = (Cell::new(0), shape.bytes as u64);
    let began = runtime::now();
    let readers = (0..shape.in_flight).map(|_| {
        let (file, place) = (&file.plain, &place);
        async move {
            let mut times = Vec::new();
            while times.is_empty() || !is_over(began, plan) {
                let position = place.replace((place.get() + length) % plan.space_bytes);
                let started = runtime::now();
                let bytes = file.read_at(position, shape.bytes).await?;
                times.push(runtime::now().since(started));
                if bytes.len() < shape.bytes {
                    return Err(io::Error::other("the file is shorter than what was written"));
                }
            }
            Ok(times)
        }
    });
    all_of(began, join_all(readers).await)
}

fn is_over(began: Instant, plan: &Plan) -> bool {
    runtime::now().since(began) >= plan.share
}

fn all_of(began: Instant, of_each: Vec<io::Result<Vec<Duration>>>) -> io::Result<Times> {
    let whole = runtime::now().since(began);
    let times: io::Result<Vec<Vec<Duration>>> = of_each.into_iter().collect();
    Ok((times?.into_iter().flatten().collect(), whole))
}

/// Bytes that no device can make less of (xorshift, by Marsaglia).
fn noise(length: usize) -> SharedBuffer {
    let mut buffer = AlignedBuffer::allocate(length);
    let mut state = runtime::random_u64() | 1;
    for word in buffer.as_mut_slice().chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    buffer.freeze()
}
