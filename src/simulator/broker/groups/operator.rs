//! Who looks after groups: lists and describes them, deletes offsets and groups, and adds partitions to what they
//! read.

use super::Groups;
use super::model::{Kind, Place};
use super::register::Asked;
use super::seat::{Seat, is_passing};
use crate::simulator::broker::link::Link;
use crate::simulator::broker::world::{World, tell};
use crate::simulator::dice::Dice;
use crate::wire::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::api::delete_groups::DeleteGroupsRequest;
use crate::wire::api::list_groups::ListGroupsRequest;
use crate::wire::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::wire::{ErrorCode, Str};
use std::rc::Rc;
use std::time::Duration;

use super::PARTITIONS_MAX;
use super::member::Mood;

pub struct Operator {
    groups: Rc<Groups>,
    world: Rc<World>,
    dice: Dice,
}

impl Operator {
    pub fn new(groups: &Rc<Groups>, world: &Rc<World>, dice: Dice) -> Operator {
        Operator { groups: groups.clone(), world: world.clone(), dice }
    }

    pub async fn work(self, mood: Mood) {
        let names: Vec<String> = self.groups.model.borrow().groups.keys().cloned().collect();
        while !mood.is_over(&self.world) {
            mood.wait(&self.dice, Duration::from_millis(100)).await;
            let at = self.dice.below(names.len() as u64) as usize;
            let mut seat = Seat::new(&self.groups, &self.world, &names[at], self.dice.fork());
            match self.dice.below(20) {
                0..4 => drop(super::settle::describe(&mut seat).await),
                4..8 => self.list().await,
                8..14 => self.delete_offsets(&mut seat).await,
                14..17 => self.delete_group(&mut seat).await,
                _ => self.add_partitions().await,
            }
        }
    }

    async fn list(&self) {
        let mut link = Link::new(&self.world, &self.dice);
        let version = self.dice.pick(&[0, 3, 4, 5]);
        let Some(answer) = link.ask(version, &ListGroupsRequest::default()).await else { return };
        let code = answer.error_code;
        assert!(code.is_none() || is_passing(code), "groups are listed with {code}");
        let model = self.groups.model.borrow();
        let mut seen = std::collections::BTreeSet::new();
        for listed in &answer.groups {
            let name = listed.group_id.as_str();
            assert!(model.groups.contains_key(name), "{name}: nobody made it");
            assert!(seen.insert(name.to_string()), "{name} is listed twice");
            let is_simple = model.groups[name].kind == Kind::Simple;
            assert!(!is_simple || listed.protocol_type.is_empty(), "{listed:?}");
        }
    }

    /// Whether a group, or some of what it committed, must be there.
    fn must_be_there(&self, asked: &[Asked]) -> bool {
        !self.groups.plan.may_lose() && asked.iter().any(Asked::must_be_some)
    }

    fn removal_sent(&self, group: &str, places: &[Place]) -> (Vec<Asked>, Vec<u64>) {
        let mut model = self.groups.model.borrow_mut();
        let asked = places.iter().map(|place| model.fetch_sent(group, place)).collect();
        (asked, model.removal_sent(group, places))
    }

    async fn delete_offsets(&self, seat: &mut Seat) {
        let group = seat.group.clone();
        let mut places = self.groups.model.borrow().committed_places(&group);
        places.retain(|_| self.dice.percent(40));
        if places.is_empty() {
            return;
        }
        let (asked, starts) = self.removal_sent(&group, &places);
        // Each as a topic of its own, so that answers come in this order.
        let topic = |(name, index): &Place| OffsetDeleteRequestTopic {
            name: name.as_str().into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: *index }],
        };
        let topics = places.iter().map(topic).collect();
        let request = OffsetDeleteRequest { group_id: group.as_str().into(), topics };
        let Some(answer) = seat.ask(0, &request).await else { return };
        tell(|| format!("{group}: offsets of {places:?} are deleted: {answer:?}"));
        let code = answer.error_code;
        let mut model = self.groups.model.borrow_mut();
        if code != ErrorCode::None {
            let is_gone = code == ErrorCode::GroupIdNotFound;
            assert!(!is_gone || !self.must_be_there(&asked), "{group} is not there");
            let is_refused = is_gone
                || matches!(code, ErrorCode::NonEmptyGroup | ErrorCode::CoordinatorLoadInProgress);
            assert!(is_refused || is_passing(code), "{group}: offsets are deleted with {code}");
            if is_refused {
                places.iter().zip(starts).for_each(|(place, start)| {
                    model.commit_refused(&group, place, start);
                });
            }
            return;
        }
        for ((place, start), topic) in places.iter().zip(starts).zip(&answer.topics) {
            match topic.partitions[0].error_code {
                ErrorCode::None => model.committed(&group, place, start),
                ErrorCode::GroupSubscribedToTopic | ErrorCode::UnknownTopicOrPartition => {
                    model.commit_refused(&group, place, start);
                }
                code => panic!("{group}: the offset of {place:?} is deleted with {code}"),
            }
        }
    }

    async fn delete_group(&self, seat: &mut Seat) {
        let group = seat.group.clone();
        // Also what is committed for the first time before the request arrives.
        let places = self.groups.model.borrow().all_places();
        let (asked, starts) = self.removal_sent(&group, &places);
        self.groups.model.borrow_mut().doom(&group);
        let request = DeleteGroupsRequest { groups_names: vec![Str::from(group.as_str())] };
        let Some(answer) = seat.ask(self.dice.pick(&[0, 2]), &request).await else { return };
        let code = answer.results[0].error_code;
        tell(|| format!("{group} is deleted: {code}"));
        let mut model = self.groups.model.borrow_mut();
        if !is_passing(code) || code == ErrorCode::CoordinatorLoadInProgress {
            model.spare(&group);
        }
        match code {
            ErrorCode::None => {
                self.world.tally.borrow_mut().groups_deleted += 1;
                for (place, start) in places.iter().zip(starts) {
                    model.committed(&group, place, start);
                }
            }
            ErrorCode::GroupIdNotFound
            | ErrorCode::NonEmptyGroup
            | ErrorCode::CoordinatorLoadInProgress => {
                let is_gone = code == ErrorCode::GroupIdNotFound;
                assert!(!is_gone || !self.must_be_there(&asked), "{group} is not there");
                let is_simple = model.groups[&group].kind == Kind::Simple;
                assert!(!is_simple || code != ErrorCode::NonEmptyGroup, "{group} has members?");
                for (place, start) in places.iter().zip(starts) {
                    model.commit_refused(&group, place, start);
                }
            }
            code => assert!(is_passing(code), "{group} is deleted with {code}"),
        }
    }

    async fn add_partitions(&self) {
        let (name, count) = {
            let model = self.groups.model.borrow();
            let names: Vec<&String> = model.topics.keys().collect();
            let name = self.dice.pick(&names).clone();
            let count = model.topics[&name].partitions + 1;
            (name, count)
        };
        if count > PARTITIONS_MAX {
            return;
        }
        let topic = CreatePartitionsTopic { name: name.as_str().into(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        let mut link = Link::new(&self.world, &self.dice);
        let Some(answer) = link.ask(3, &request).await else { return };
        let code = answer.results[0].error_code;
        tell(|| format!("{name} gets {count} partitions: {code}"));
        if code == ErrorCode::None {
            let mut model = self.groups.model.borrow_mut();
            let topic = model.topics.get_mut(&name).expect("it is there");
            topic.partitions = topic.partitions.max(count);
        }
    }
}
