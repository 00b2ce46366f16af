//! Client quotas as they were set (KIP-124, KIP-599, by the API of KIP-546), and which of them holds for a
//! client. Plain values, part of every shard's image. Pure.

use std::collections::BTreeMap;

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    ProduceBytes,
    FetchBytes,
    /// Time of the core that serves the client, in percent of one core.
    RequestTime,
    /// Partitions made or deleted.
    Mutations,
}

impl QuotaKind {
    /// In the order of `index`.
    pub const ALL: [QuotaKind; 4] = [
        QuotaKind::ProduceBytes,
        QuotaKind::FetchBytes,
        QuotaKind::RequestTime,
        QuotaKind::Mutations,
    ];

    pub fn index(self) -> usize {
        self as usize
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKind::ProduceBytes => "producer_byte_rate",
            QuotaKind::FetchBytes => "consumer_byte_rate",
            QuotaKind::RequestTime => "request_percentage",
            QuotaKind::Mutations => "controller_mutation_rate",
        }
    }

    pub fn from_name(name: &str) -> Option<QuotaKind> {
        QuotaKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What one entity may, by kind, per second. Numbers are kept as their bits, so that equal is equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaValues([Option<u64>; 4]);

impl QuotaValues {
    pub fn get(&self, kind: QuotaKind) -> Option<f64> {
        self.0[kind.index()].map(f64::from_bits)
    }

    pub fn set(&mut self, kind: QuotaKind, value: Option<f64>) {
        self.0[kind.index()] = value.map(f64::to_bits);
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// What is set.
    pub fn iter(&self) -> impl Iterator<Item = (QuotaKind, f64)> + '_ {
        QuotaKind::ALL.into_iter().filter_map(|kind| Some((kind, self.get(kind)?)))
    }
}

/// Whom a part of an entity names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaName {
    /// Everybody for whom nothing nearer is set.
    Default,
    Is(String),
}

/// Whose quota it is; at least one part is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity {
    pub user: Option<QuotaName>,
    pub client: Option<QuotaName>,
}

/// What is set for one user part: by itself, and with client ids.
#[derive(Clone, Debug, Default)]
struct ByClient {
    alone: QuotaValues,
    default: QuotaValues,
    named: BTreeMap<String, QuotaValues>,
}

impl ByClient {
    fn values_mut(&mut self, client: &Option<QuotaName>) -> &mut QuotaValues {
        match client {
            None => &mut self.alone,
            Some(QuotaName::Default) => &mut self.default,
            Some(QuotaName::Is(name)) => self.named.entry(name.clone()).or_default(),
        }
    }
}

/// A quota that holds for a client, and with whom the client shares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holding {
    pub rate: f64,
    /// Each user has one of his own; else all users together.
    pub by_user: bool,
    /// Each client id has one of its own; else all together.
    pub by_client: bool,
}

/// All quotas.
#[derive(Clone, Debug, Default)]
pub struct QuotaTable {
    entities: BTreeMap<QuotaEntity, QuotaValues>,
    no_user: ByClient,
    default_user: ByClient,
    users: BTreeMap<String, ByClient>,
}

impl QuotaTable {
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entities.len()
    }

    pub fn values(&self, entity: &QuotaEntity) -> QuotaValues {
        self.entities.get(entity).copied().unwrap_or_default()
    }

    pub fn entities(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaValues)> {
        self.entities.iter()
    }

    /// Sets all that holds for an entity; no values remove it.
    pub fn set(&mut self, entity: QuotaEntity, values: QuotaValues) {
        let by_client = match &entity.user {
            None => &mut self.no_user,
            Some(QuotaName::Default) => &mut self.default_user,
            Some(QuotaName::Is(name)) => self.users.entry(name.clone()).or_default(),
        };
        *by_client.values_mut(&entity.client) = values;
        if values.is_empty() {
            if let Some(QuotaName::Is(name)) = &entity.client {
                by_client.named.remove(name);
            }
            self.entities.remove(&entity);
        } else {
            self.entities.insert(entity, values);
        }
    }

    /// The nearest quota of this kind, in Kafka's order: user and client id before user before client id,
    /// and a name before a default.
    pub fn holding(&self, user: &str, client: &str, kind: QuotaKind) -> Option<Holding> {
        let named = self.users.get(user);
        for by_client in named.into_iter().chain([&self.default_user]) {
            let both = by_client.named.get(client).and_then(|values| values.get(kind));
            if let Some(rate) = both.or_else(|| by_client.default.get(kind)) {
                return Some(Holding { rate, by_user: true, by_client: true });
            }
            if let Some(rate) = by_client.alone.get(kind) {
                return Some(Holding { rate, by_user: true, by_client: false });
            }
        }
        let own = self.no_user.named.get(client).and_then(|values| values.get(kind));
        let rate = own.or_else(|| self.no_user.default.get(kind))?;
        Some(Holding { rate, by_user: false, by_client: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<QuotaName> {
        match text {
            "" => None,
            "*" => Some(QuotaName::Default),
            text => Some(QuotaName::Is(text.to_string())),
        }
    }

    fn entity(user: &str, client: &str) -> QuotaEntity {
        QuotaEntity { user: name(user), client: name(client) }
    }

    fn values(rate: f64) -> QuotaValues {
        let mut values = QuotaValues::default();
        values.set(QuotaKind::ProduceBytes, Some(rate));
        values
    }

    #[test]
    fn the_nearest_quota_holds_in_kafkas_order() {
        let order = [
            ("u", "c"),
            ("u", "*"),
            ("u", ""),
            ("*", "c"),
            ("*", "*"),
            ("*", ""),
            ("", "c"),
            ("", "*"),
        ];
        let mut table = QuotaTable::default();
        for (rate, (user, client)) in (1..).zip(order).collect::<Vec<_>>().into_iter().rev() {
            table.set(entity(user, client), values(f64::from(rate)));
            let holding = table.holding("u", "c", QuotaKind::ProduceBytes).unwrap();
            let shared = (holding.by_user, holding.by_client);
            assert_eq!(holding.rate, f64::from(rate), "{user}/{client}");
            assert_eq!(shared, (!user.is_empty(), !client.is_empty()), "{user}/{client}");
            assert_eq!(table.holding("u", "c", QuotaKind::FetchBytes), None);
        }
        assert_eq!(table.holding("other", "c", QuotaKind::ProduceBytes).unwrap().rate, 4.0);
        assert_eq!(table.holding("other", "o", QuotaKind::ProduceBytes).unwrap().rate, 5.0);
        for (user, client) in order {
            table.set(entity(user, client), QuotaValues::default());
        }
        assert!(table.is_empty() && table.holding("u", "c", QuotaKind::ProduceBytes).is_none());
    }

    #[test]
    fn a_nearer_entity_without_this_kind_does_not_hide_a_farther_one() {
        let mut table = QuotaTable::default();
        let mut fetches = QuotaValues::default();
        fetches.set(QuotaKind::FetchBytes, Some(9.0));
        table.set(entity("u", "c"), fetches);
        table.set(entity("", "*"), values(5.0));
        let holding = table.holding("u", "c", QuotaKind::ProduceBytes).unwrap();
        assert_eq!(holding, Holding { rate: 5.0, by_user: false, by_client: true });
    }
}
