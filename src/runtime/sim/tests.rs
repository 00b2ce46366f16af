use super::*;
use std::cell::RefCell;
use std::rc::Rc;

const MS: Duration = Duration::from_millis(1);

/// A little program whose order of events depends on every choice of the executor.
async fn bustle(log: Rc<RefCell<Vec<u64>>>) {
    let tasks: Vec<Task<()>> = (0..8)
        .map(|number| {
            let log = Rc::clone(&log);
            spawn(async move {
                for _ in 0..4 {
                    log.borrow_mut().push(number);
                    match random_u64() % 3 {
                        0 => yield_now().await,
                        1 => sleep(Duration::from_micros(random_u64() % 50)).await,
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
}

fn bustle_of(seed: u64) -> (Vec<u64>, u64) {
    let simulation = Simulation::new(seed);
    let log = Rc::default();
    simulation.run(bustle(Rc::clone(&log)));
    (log.take(), simulation.fingerprint())
}

#[test]
fn same_seed_gives_the_same_execution_and_other_seeds_give_others() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let first = bustle_of(seed);
        assert_eq!(first, bustle_of(seed));
        orders.insert(first);
    }
    assert_eq!(orders.len(), 200);
}

#[test]
fn timers_fire_in_order_and_never_early() {
    for_each_seed(100, |seed| {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&fired);
        Simulation::new(seed).run(async move {
            for ms in [5u32, 1, 4, 2, 3] {
                let log = Rc::clone(&log);
                spawn(async move {
                    let start = now();
                    sleep(ms * MS).await;
                    assert!(now() - start >= ms * MS);
                    log.borrow_mut().push(ms);
                });
            }
            sleep(10 * MS).await;
        });
        assert_eq!(*fired.borrow(), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn an_hour_of_waiting_takes_no_time_and_a_dropped_timer_leaves_no_trace() {
    let simulation = Simulation::new(1);
    simulation.run(async {
        let waited = crate::runtime::timeout(MS, sleep(Duration::from_secs(3600))).await;
        assert!(waited.is_none());
        assert!(now() < Instant::default() + 2 * MS);
        sleep(Duration::from_secs(3600)).await;
        assert!(now() > Instant::default() + Duration::from_secs(3600));
    });
}

#[test]
fn dropping_a_task_detaches_it_and_cancelling_drops_its_future() {
    struct Dropped(Rc<RefCell<Vec<&'static str>>>, &'static str);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.borrow_mut().push(self.1);
        }
    }
    let log = Rc::new(RefCell::new(Vec::new()));
    let of_tasks = Rc::clone(&log);
    Simulation::new(1).run(async move {
        let [detached, cancelled, awaited] = ["detached", "cancelled", "awaited"].map(|name| {
            let guard = Dropped(Rc::clone(&of_tasks), name);
            spawn(async move {
                let guard = guard;
                sleep(MS).await;
                guard.0.borrow_mut().push("done");
                7
            })
        });
        drop(detached);
        cancelled.cancel().await;
        assert_eq!(awaited.await, 7);
        sleep(MS).await;
    });
    let mut log = log.take();
    assert_eq!(log.remove(0), "cancelled");
    log.sort_unstable();
    assert_eq!(log, ["awaited", "detached", "done", "done"]);
}

#[test]
fn background_tasks_get_their_turn_beside_busy_foreground_tasks() {
    Simulation::new(3).run(async {
        spawn(async {
            loop {
                yield_now().await;
            }
        });
        assert_eq!(spawn_background(async { 5 }).await, 5);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn waiting_for_what_never_comes_is_a_deadlock() {
    Simulation::new(1).run(std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "stuck")]
fn a_loop_without_end_is_found_by_the_step_limit() {
    let options = SimulationOptions { steps_max: 1000, ..SimulationOptions::default() };
    Simulation::with_options(1, options).run(async {
        loop {
            yield_now().await;
        }
    });
}

#[test]
fn a_task_left_behind_goes_on_in_the_next_run_but_not_after_a_kill() {
    let simulation = Simulation::new(1);
    let count = Rc::new(Cell::new(0));
    let counter = Rc::clone(&count);
    simulation.run(async move {
        spawn(async move {
            loop {
                sleep(MS).await;
                counter.set(counter.get() + 1);
            }
        });
    });
    assert_eq!(count.get(), 0);
    simulation.run(sleep(10 * MS));
    let counted = count.get();
    assert!((8..=10).contains(&counted), "{counted}");
    simulation.kill();
    assert_eq!(Rc::strong_count(&count), 1);
    simulation.run(sleep(10 * MS));
    assert_eq!(count.get(), counted);
}

#[test]
fn run_stops_at_the_moment_asked_for() {
    let simulation = Simulation::new(1);
    let stop = Stop::At(Instant::default() + 5 * MS);
    assert_eq!(simulation.run_until(stop, sleep(10 * MS)), None);
    assert_eq!(simulation.run_until(Stop::At(simulation.now() + 5 * MS), async { 1 }), Some(1));
}

#[test]
fn the_wall_clock_steps_and_the_monotonic_clock_does_not() {
    let simulation = Simulation::new(1);
    let (wall, monotonic) = simulation.run(async { (wall_clock(), now()) });
    simulation.step_wall_clock(-60_000);
    let (stepped, later) = simulation.run(async { (wall_clock(), now()) });
    assert!(stepped.0 <= wall.0 - 59_000);
    assert!(later >= monotonic);
}

/// A little of everything: tasks, files that fail, connections that break, channels.
async fn rumpus() {
    use crate::runtime::buffer::AlignedBuffer;
    use std::net::SocketAddr;
    let options = crate::runtime::FileOptions { create_new: true, ..Default::default() };
    let mut tasks = Vec::new();
    for number in 0..4 {
        tasks.push(spawn(async move {
            let path = format!("/d/{number}");
            let file = File::open(path.as_ref(), options).await.unwrap();
            for block in 0..5 {
                let buffer = AlignedBuffer::allocate(4096).freeze();
                let _ = file.write_at(&buffer, block * 4096).await;
                let _ = file.sync().await;
            }
        }));
    }
    let shared = crate::runtime::ListenOptions { shared: true, backlog: 8 };
    let address = SocketAddr::from(([127, 0, 0, 1], 9092));
    let listener = Listener::bind(address, shared).unwrap();
    tasks.push(spawn(async move {
        let (client, _server) = (spawn(Stream::connect(address)), listener.accept().await);
        let client = client.await.unwrap();
        for _ in 0..20 {
            let slices = [std::io::IoSlice::new(&[7; 100])];
            let write = std::future::poll_fn(|cx| client.poll_write_vectored(cx, &slices));
            let _ = crate::runtime::timeout(MS, write).await;
        }
    }));
    for task in tasks {
        task.await;
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace_and_the_same_disk_after_a_crash() {
    let after = |seed| {
        let mut options = SimulationOptions::default();
        options.disk.sync_error_probability = 0.1;
        options.network.cut_probability = 0.05;
        let simulation = Simulation::with_options(seed, options);
        simulation.disk().put_directory("/d").unwrap();
        let stop = Stop::At(Instant::default() + MS);
        simulation.run_until(stop, rumpus());
        simulation.crash();
        let files = simulation.disk().files();
        let bytes: Vec<_> = files.iter().map(|f| simulation.disk().read_file(f)).collect();
        let bytes: Vec<_> = bytes.into_iter().map(Result::unwrap).collect();
        (simulation.trace(), simulation.fingerprint(), files, bytes)
    };
    let mut fingerprints = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let first = after(seed);
        assert_eq!(first, after(seed));
        assert!(first.0.contains("write") && first.0.contains("power loss"), "{}", first.0);
        fingerprints.insert(first.1);
    }
    assert_eq!(fingerprints.len(), 100);
}

#[test]
fn a_task_is_held_up_now_and_then_while_others_go_on() {
    let options = SimulationOptions { stall_probability: 0.2, ..SimulationOptions::default() };
    Simulation::with_options(1, options).run(async {
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let before = now();
            yield_now().await;
            longest = longest.max(now() - before);
        }
        assert!(longest > MS / 4, "{longest:?}");
    });
}

#[test]
fn a_core_that_stalls_runs_nothing_meanwhile_and_the_others_go_on() {
    for_each_seed(50, |seed| {
        let ran = Rc::new(RefCell::new([Vec::new(), Vec::new()]));
        let log = Rc::clone(&ran);
        Simulation::new(seed).run(async move {
            let work = |core: u16| {
                let log = Rc::clone(&log);
                on_core(core, async move {
                    // What is spawned by what was spawned there is there, too.
                    spawn(async move {
                        drop(spawn(async move {
                            loop {
                                log.borrow_mut()[usize::from(core)].push(now());
                                sleep(MS / 2).await;
                            }
                        }));
                    })
                    .await;
                })
            };
            work(0).await;
            work(1).await;
            sleep(3 * MS).await;
            let from = now();
            stall_core(1, 20 * MS);
            sleep(40 * MS).await;
            let [others, stalled] = log.take();
            let within = |at: &&Instant| **at > from && **at < from + 20 * MS;
            assert_eq!(stalled.iter().filter(within).count(), 0);
            assert!(others.iter().filter(within).count() > 20);
            assert!(stalled.iter().any(|at| *at >= from + 20 * MS), "it goes on afterwards");
        });
    });
}
