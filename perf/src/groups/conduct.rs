//! The stages of a run: the broker alone, members connected, members joined, the measured time with its storms, the
//! end. Lives on the driver's thread.

use super::counts::Counts;
use super::member::{Driver, Member, Order, Orders};
use super::plan::Plan;
use super::track::Track;
use crate::process::{self, Used};
use corelog::client::{Client, ClientError, ClientOptions};
use corelog::runtime::{self, Event, Instant};
use corelog::types::TopicId;
use corelog::wire::api::CreateTopicsRequest;
use corelog::wire::api::create_topics::CreatableTopic;
use corelog::wire::{ErrorCode, Str};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Topics that are asked for in one request.
const TOPICS_AT_ONCE: usize = 100;
/// From the word to begin until the first member does.
const BEGIN_AFTER: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long members may take to leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);

/// What broker and driver had used at the two ends of a stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stage {
    pub seconds: f64,
    pub broker_cpu_seconds: Option<f64>,
    pub driver_cpu_seconds: f64,
    /// At its end.
    pub broker_memory_bytes: Option<u64>,
    /// The most until its end, since the run began.
    pub broker_peak_bytes: Option<u64>,
}

/// What a run has found.
#[derive(Debug, Default)]
pub struct Driven {
    /// The broker alone, with connections, with groups.
    pub alone: Stage,
    pub connected: Stage,
    pub measured: Stage,
    pub starting: Counts,
    pub counts: Counts,
    pub storms: usize,
    /// Groups that a storm met before they had got over the last one.
    pub met_again: usize,
    /// Groups that were not stable when time was over.
    pub unstable: usize,
    /// Partitions that two members had at once.
    pub doubled: u64,
}

struct Looks {
    at: Instant,
    broker: Option<Used>,
    driver: Option<Used>,
}

impl Looks {
    fn now(broker: Option<u32>) -> Looks {
        let driver = process::used(std::process::id());
        Looks { at: runtime::now(), broker: broker.and_then(process::used), driver }
    }

    fn until(&self, end: &Looks) -> Stage {
        let cpu = |from: Option<Used>, to: Option<Used>| {
            from.zip(to).map(|(from, to)| to.cpu_seconds - from.cpu_seconds)
        };
        Stage {
            seconds: end.at.since(self.at).as_secs_f64(),
            broker_cpu_seconds: cpu(self.broker, end.broker),
            driver_cpu_seconds: cpu(self.driver, end.driver).unwrap_or_default(),
            broker_memory_bytes: end.broker.map(|used| used.memory_bytes),
            broker_peak_bytes: end.broker.map(|used| used.peak_memory_bytes),
        }
    }
}

async fn look(broker: Option<u32>, time: Duration) -> Stage {
    let from = Looks::now(broker);
    runtime::sleep(time).await;
    from.until(&Looks::now(broker))
}

/// Runs all stages; `tell` hears when the measured time begins, and it ends early when `stop` does.
///
/// # Errors
/// Why there was no measured time.
pub async fn drive(
    plan: Plan,
    broker: Option<u32>,
    tell: impl Fn(&str),
    stop: impl Future<Output = ()>,
) -> Result<Driven, String> {
    let client = Client::new(ClientOptions {
        bootstrap: plan.bootstrap.clone(),
        client_id: "corelog-perf".to_string(),
        ..ClientOptions::default()
    });
    let topics = prepare(&client, &plan).await?;
    let driven = measure(&client, &plan, topics, broker, &tell, stop).await;
    if !plan.existing && !plan.keep {
        for topic in 0..plan.topics {
            if let Err(error) = client.delete_topic(&plan.topic_name(topic)).await {
                tell(&format!("a topic is left behind: {error}"));
            }
        }
    }
    driven
}

async fn measure(
    client: &Client,
    plan: &Plan,
    topics: Vec<(Str, TopicId)>,
    broker: Option<u32>,
    tell: &impl Fn(&str),
    stop: impl Future<Output = ()>,
) -> Result<Driven, String> {
    broker.into_iter().for_each(process::reset_peak);
    let alone = look(broker, plan.look).await;
    let track = || RefCell::new(Track::new(plan.members, plan.partitions));
    let driver = Rc::new(Driver {
        plan: plan.clone(),
        client: client.clone(),
        topics,
        counts: RefCell::default(),
        groups: (0..plan.groups).map(|_| track()).collect(),
        connect_at: runtime::now() + BEGIN_AFTER,
        join_at: Cell::new(None),
        measure_from: Cell::new(None),
        stage: Event::default(),
        connected: Cell::new(0),
        ended: Cell::new(0),
    });
    let orders: Vec<Rc<Orders>> = (0..plan.count()).map(|_| Rc::default()).collect();
    for (place, order) in orders.iter().enumerate() {
        let (group, number) = (place / plan.members, place % plan.members);
        let member = Member::new(driver.clone(), group, number, order.clone());
        drop(runtime::spawn(member.run()));
    }
    let (count, limit) = (plan.count(), plan.ramp + plan.drain);
    let missing = wait(limit, || count - driver.connected.get()).await;
    check(missing, "members have no connection", &driver)?;
    let connected = look(broker, plan.look).await;
    driver.join_at.set(Some(runtime::now() + BEGIN_AFTER));
    driver.stage.notify();
    let missing = wait(limit, || plan.groups - driver.stable_groups()).await;
    check(missing, "groups are not stable", &driver)?;
    let starting = driver.counts.take();
    tell("all groups are stable; measuring");
    let from = Looks::now(broker);
    driver.measure_from.set(Some(runtime::now()));
    let (mut storms, mut met_again) = (0, 0);
    let stirred = stir(&driver, &orders, &mut storms, &mut met_again);
    futures_lite::future::or(stirred, stop).await;
    let measured = from.until(&Looks::now(broker));
    let unstable = wait(plan.drain, || plan.groups - driver.stable_groups()).await;
    let counts = driver.counts.take();
    orders.iter().for_each(|order| order.give(Order::End));
    wait(LEAVE_LIMIT, || count - driver.ended.get()).await;
    let doubled = driver.groups.iter().map(|group| group.borrow().doubled).sum();
    Ok(Driven {
        alone,
        connected,
        measured,
        starting,
        counts,
        storms,
        met_again,
        unstable,
        doubled,
    })
}

/// Lets the measured time pass, and the storms come in it.
async fn stir(driver: &Driver, orders: &[Rc<Orders>], storms: &mut usize, met_again: &mut usize) {
    let plan = &driver.plan;
    let start = runtime::now();
    let until = |at: Duration| runtime::sleep((start + at).since(runtime::now()));
    for (number, at) in plan.storms().into_iter().enumerate() {
        until(at).await;
        *storms += 1;
        *met_again += plan.groups - driver.stable_groups();
        let restarting = plan.restarting(number);
        let over = plan.storm.map_or(Duration::ZERO, |storm| storm.over);
        for (group, track) in driver.groups.iter().enumerate() {
            let at = at + over.mul_f64(group as f64 / plan.groups as f64);
            until(at).await;
            track.borrow_mut().disturb(start + at, restarting.iter().copied());
            for member in &restarting {
                orders[group * plan.members + member].give(Order::Restart);
            }
        }
    }
    until(plan.duration).await;
}

/// Waits until nothing is left, or time is over; what is left.
async fn wait(limit: Duration, left: impl Fn() -> usize) -> usize {
    let end = runtime::now() + limit;
    while left() > 0 && runtime::now() < end {
        runtime::sleep(LOOK_EVERY).await;
    }
    left()
}

fn check(missing: usize, what: &str, driver: &Driver) -> Result<(), String> {
    if missing == 0 {
        return Ok(());
    }
    let counts = driver.counts.borrow();
    let fault = counts.first_fault.as_deref().unwrap_or("nothing was refused");
    Err(format!("{missing} {what}; {fault}"))
}

// ---------------------------------------------------------------- topics

/// Has the topics be there; their names and ids.
async fn prepare(client: &Client, plan: &Plan) -> Result<Vec<(Str, TopicId)>, String> {
    let told = |error: ClientError| error.to_string();
    client.any().await.map_err(told)?;
    let names: Vec<Str> =
        (0..plan.topics).map(|topic| Str::from(plan.topic_name(topic).as_str())).collect();
    if !plan.existing {
        for names in names.chunks(TOPICS_AT_ONCE) {
            create(client, names, plan.partitions).await?;
        }
    }
    let what = "waiting for the leaders of the topics";
    let found = client
        .retry(what, async || {
            client.refresh_all().await?;
            names.iter().map(|name| topic_id(client, name, plan.partitions)).collect()
        })
        .await;
    found.map_err(told)
}

fn topic_id(client: &Client, name: &Str, partitions: usize) -> Result<(Str, TopicId), ClientError> {
    client.metadata(|metadata| {
        let topic = metadata.topics.get(name);
        let topic = topic.ok_or_else(|| ClientError::NoLeader { what: name.to_string() })?;
        let found = topic.partitions.len();
        if found != partitions {
            let text = format!("topic {name} has {found} partitions, not {partitions}");
            return Err(ClientError::Invalid(text));
        }
        if topic.partitions.iter().any(|partition| partition.leader.is_none()) {
            return Err(ClientError::NoLeader { what: name.to_string() });
        }
        Ok((name.clone(), topic.id))
    })
}

async fn create(client: &Client, names: &[Str], partitions: usize) -> Result<(), String> {
    let limit = client.options().request_limit;
    let topic = |name: &Str| CreatableTopic {
        name: name.clone(),
        num_partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        replication_factor: 1,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
        validate_only: false,
    };
    let made = client.call_controller(&request).await.map_err(|error| error.to_string())?;
    for topic in made.topics {
        let message = topic.error_message.as_deref();
        match topic.error_code {
            ErrorCode::TopicAlreadyExists => {
                let name = topic.name;
                return Err(format!("topic {name} exists (--existing uses it)"));
            }
            code => ClientError::check(code, message, || format!("creating topic {}", topic.name))
                .map_err(|error| error.to_string())?,
        }
    }
    Ok(())
}
