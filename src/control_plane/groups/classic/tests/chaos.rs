//! Clients that come, go, crash and dawdle by chance. Whatever they do, no two assignments of one generation
//! differ in their author, nothing leaks, and once they behave, all of them are in one generation.

use super::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

enum Does {
    /// It has no place, or is told to join again.
    Nothing,
    Joins(Joined),
    Syncs(Synced),
    /// In its generation, with an assignment.
    Works,
}

struct Client {
    instance: Option<Str>,
    id: Str,
    joined: JoinGroupResponse,
    does: Does,
    /// Which of two protocols it prefers, or has alone.
    taste: u64,
    version: i16,
}

impl Client {
    fn new(number: usize, dice: &mut Dice) -> Client {
        Client {
            instance: dice.one_in(3).then(|| Str::from(format!("static-{number}"))),
            id: Str::default(),
            joined: JoinGroupResponse::default(),
            does: Does::Nothing,
            taste: dice.below(3),
            version: dice.below(10) as i16,
        }
    }

    fn request(&self) -> JoinGroupRequest {
        let protocols: &[&str] = match self.taste {
            0 => &["range"],
            1 => &["range", "sticky"],
            _ => &["sticky", "range"],
        };
        let instance = self.instance.clone();
        JoinGroupRequest { group_instance_id: instance, ..request_with(&self.id, protocols) }
    }

    fn join(&mut self, bench: &mut Bench) {
        self.does = Does::Joins(bench.join(self.request(), self.version));
    }

    /// Takes what answers there are, as a client does.
    fn step(&mut self, bench: &mut Bench, authors: &mut Authors) {
        let is_lost = match &self.does {
            Does::Joins(answer) => answer.is_dropped(),
            Does::Syncs(answer) => answer.is_dropped(),
            Does::Nothing | Does::Works => false,
        };
        match &self.does {
            _ if is_lost => self.does = Does::Nothing,
            Does::Nothing => self.join(bench),
            Does::Joins(answer) if !answer.is_waiting() => {
                let answer = answer.get();
                self.does = Does::Nothing;
                match answer.error_code {
                    ErrorCode::None => self.has_joined(answer, bench),
                    ErrorCode::MemberIdRequired => self.id = answer.member_id,
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                        self.id = Str::default();
                    }
                    // After a crash, only the protocol that was chosen is known of the members.
                    ErrorCode::InconsistentGroupProtocol if self.taste == 0 => self.taste = 2,
                    other => panic!("{other} to a join"),
                }
            }
            Does::Syncs(answer) if !answer.is_waiting() => {
                let answer = answer.get();
                self.does = Does::Nothing;
                match answer.error_code {
                    ErrorCode::None => self.is_assigned(&answer, authors),
                    ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                        self.id = Str::default();
                    }
                    other => panic!("{other} to a sync"),
                }
            }
            Does::Works => {
                let instance = self.instance.clone();
                let generation = self.joined.generation_id;
                match bench.heartbeat_as(&self.id, instance.as_deref(), generation) {
                    ErrorCode::None => {}
                    ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {
                        self.does = Does::Nothing;
                    }
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                        (self.id, self.does) = (Str::default(), Does::Nothing);
                    }
                    other => panic!("{other} to a heartbeat"),
                }
            }
            Does::Joins(_) | Does::Syncs(_) => {}
        }
    }

    fn has_joined(&mut self, answer: JoinGroupResponse, bench: &mut Bench) {
        self.id = answer.member_id.clone();
        let leads = answer.leader == answer.member_id;
        assert_eq!(leads, !answer.members.is_empty(), "who leads has the members");
        let sync = if leads && !answer.skip_assignment {
            bench.lead(&answer)
        } else {
            bench.sync(SyncGroupRequest {
                group_instance_id: self.instance.clone(),
                ..sync_request(&answer)
            })
        };
        self.joined = answer;
        self.does = Does::Syncs(sync);
    }

    fn is_assigned(&mut self, answer: &SyncGroupResponse, authors: &mut Authors) {
        assert_eq!(answer.protocol_name, self.joined.protocol_name);
        authors.check(self.joined.generation_id, answer);
        self.does = Does::Works;
    }
}

/// Assignments say of which generation they are; each is given to one member.
#[derive(Default)]
struct Authors(BTreeSet<i32>);

impl Authors {
    fn check(&mut self, generation: i32, answer: &SyncGroupResponse) {
        let text = std::str::from_utf8(&answer.assignment).unwrap();
        let (of, member) = text.split_once(':').expect("everybody is assigned to");
        assert_eq!(of, generation.to_string(), "{member} in generation {generation}");
        self.0.insert(generation);
    }
}

fn check_invariants(bench: &Bench) {
    let group = &bench.group;
    let members = group.members();
    let leader = group.leader();
    assert!(members.is_empty() || leader.is_some_and(|leader| members.contains(leader)));
    assert!(members.joining() <= members.len());
    for member in members.iter() {
        if let Some(instance) = &member.instance_id {
            assert_eq!(members.static_id(instance), Some(&member.id));
        }
    }
    match group.state() {
        State::Empty => assert!(members.is_empty()),
        State::Stable | State::CompletingRebalance => {
            assert!(!members.is_empty());
            let protocol = group.protocol().expect("a generation has a protocol");
            let has = |member: &Member| member.protocols.iter().any(|each| each.name == *protocol);
            assert!(members.iter().all(has), "all members have the protocol");
        }
        State::PreparingRebalance => assert!(bench.timers.next_at().is_some(), "it ends"),
        State::Dead => unreachable!("nobody deletes it"),
    }
}

fn misbehave(clients: &mut [Client], bench: &mut Bench, dice: &mut Dice) {
    let count = clients.len() as u64;
    let client = &mut clients[dice.below(count) as usize];
    match dice.below(6) {
        // It dies, and is started again.
        0 => (client.id, client.does) = (Str::default(), Does::Nothing),
        // It leaves.
        1 => {
            let (id, instance) = (client.id.clone(), client.instance.clone());
            bench.leave(&[(&id, instance.as_deref())]);
            (client.id, client.does) = (Str::default(), Does::Nothing);
        }
        // It wants something else.
        2 => (client.taste, client.does) = (dice.below(3), Does::Nothing),
        // It asks again.
        3 => client.join(bench),
        // An administrator removes it.
        4 => {
            let instance = client.instance.clone();
            bench.leave(&[("", instance.as_deref())]);
        }
        // All are slow.
        _ => bench.pass(Duration::from_secs(dice.below(15))),
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut bench = Bench::new();
    let count = 1 + dice.below(6) as usize;
    let mut clients: Vec<_> = (0..count).map(|number| Client::new(number, &mut dice)).collect();
    let mut authors = Authors::default();
    for _ in 0..300 {
        let client = dice.below(count as u64) as usize;
        clients[client].step(&mut bench, &mut authors);
        if dice.one_in(8) {
            misbehave(&mut clients, &mut bench, &mut dice);
        }
        if dice.one_in(3) {
            bench.pass_ms(dice.below(4_000) as i32);
        }
        if dice.one_in(100) {
            crash(&mut bench);
        }
        check_invariants(&bench);
    }
    converge(&mut bench, &mut clients, &mut authors);
}

/// The coordinator starts again from its log; who waits has no answer and asks again.
fn crash(bench: &mut Bench) {
    let Some(value) = bench.group.value() else { return };
    let last = bench.log.last().expect("what is stored is in the log");
    assert_eq!(last.as_ref(), Some(&value));
    bench.timers = Timers::default();
    bench.group = ClassicGroup::from_value(Str::from(GROUP), &value);
    bench.turn(|group, turn| group.on_loaded(turn));
}

/// Everybody behaves: within twice the longest wait there is one generation of them all.
fn converge(bench: &mut Bench, clients: &mut [Client], authors: &mut Authors) {
    for _ in 0..400 {
        for client in clients.iter_mut() {
            client.step(bench, authors);
        }
        bench.pass(Duration::from_secs(1));
        check_invariants(bench);
    }
    let generation = bench.group.generation();
    bench.check_state(State::Stable, generation);
    let expected: BTreeSet<_> = clients.iter().map(|client| client.id.clone()).collect();
    assert_eq!(bench.ids().into_iter().collect::<BTreeSet<_>>(), expected);
    for client in clients.iter() {
        assert!(matches!(client.does, Does::Works));
        assert_eq!(client.joined.generation_id, generation);
    }
    assert!(bench.group.members().pending().is_empty());
}

#[test]
fn whatever_clients_do_they_end_up_in_one_generation() {
    for seed in 0..200 {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}
