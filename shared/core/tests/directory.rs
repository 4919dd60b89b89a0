//! The directory: who may push, and what the hub's feed says about it.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use ed25519_dalek::SigningKey;
use jiff::civil::date;
use liandong_core::{
    directory::{CertBind, CertRevoke, Directory, FeedGrant, KeyGrant, Refusal, Standing, Token},
    id::{DistrictCode, FeedId, Hash, Head, InstanceId},
    op::{Author, Change, Op, OpType, Stamp},
    receipt::token_hash,
    record::Visibility,
};

const NOW: i64 = 1_700_000_000_000;
const DAY: i64 = 24 * 3600 * 1000;

/// A hub's feed with the directory folded from it.
struct Hub {
    author: Author,
    ops: Vec<Op>,
    directory: Directory,
}

impl Hub {
    fn new() -> Self {
        let author = Author::new(FeedId::new([1; 16]), SigningKey::from_bytes(&[1; 32]));
        Self { author, ops: Vec::new(), directory: Directory::default() }
    }

    fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            let head = self.ops.last().map_or(Head::EMPTY, Op::head);
            let stamp = Stamp { now_ms: NOW, uid: [0; 16], actor: "hub".to_owned() };
            let op = self.author.author(head, change, stamp).unwrap();
            let _skipped = self.directory.apply(&op);
            self.ops.push(op);
        }
    }

    fn add_district(&mut self, code: &str, secret: &str) {
        let changes = self.directory.add_district("某区", &token(code, secret)).unwrap();
        self.commit(changes);
    }

    fn try_join(&self, feed: u8, secret: &str, now_ms: i64) -> Result<Vec<Change>, Refusal> {
        let grant = FeedGrant {
            feed: feed_id(feed),
            code: self.directory.redeem(token_hash(secret.as_bytes()), now_ms)?.0.code.clone(),
            token: token_hash(secret.as_bytes()),
            instance: InstanceId::new([feed; 16]),
            key: None,
        };
        let key = KeyGrant {
            feed: grant.feed,
            public_key: Hash::new(node(feed).public_key()),
            from_seq: 1,
            cause: None,
        };
        self.directory.join(&grant, &key, &certificate(feed, 1), now_ms)
    }

    fn join(&mut self, feed: u8, secret: &str) {
        let changes = self.try_join(feed, secret, NOW).unwrap();
        self.commit(changes);
    }

    fn set(&mut self, code: &str, standing: Standing, reason: Option<&str>) {
        let code = district(code);
        let changes = match standing {
            Standing::Active => self.directory.resume(&code),
            Standing::Suspended => {
                self.directory.suspend(&code, reason.unwrap_or_default().to_owned(), false)
            }
        };
        self.commit(changes.unwrap());
    }

    fn admit(&self, feed: u8, certificate_feed: u8, certificate: u8) -> Result<(), Refusal> {
        let fingerprint = Hash::new([certificate; 32]);
        self.directory.admit(feed_id(feed), feed_id(certificate_feed), fingerprint).map(|_entry| ())
    }
}

fn district(code: &str) -> DistrictCode {
    code.parse().unwrap()
}

fn feed_id(n: u8) -> FeedId {
    FeedId::new([n; 16])
}

fn node(n: u8) -> Author {
    Author::new(feed_id(n), SigningKey::from_bytes(&[n; 32]))
}

fn token(code: &str, secret: &str) -> Token {
    let hash = token_hash(secret.as_bytes());
    Token { hash, code: district(code), expires_ms: NOW + DAY, feed: None, reason: None }
}

fn certificate(feed: u8, n: u8) -> CertBind {
    let fingerprint = Hash::new([n; 32]);
    CertBind { feed: feed_id(feed), fingerprint, not_after_ms: NOW + 90 * DAY }
}

#[test]
fn a_token_opens_the_door_once() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    assert_eq!(hub.try_join(15, "guessed", NOW), Err(Refusal::TokenUnknown));
    hub.join(15, "first");
    assert_eq!(hub.try_join(16, "first", NOW), Err(Refusal::TokenUsed));
    assert_eq!(hub.directory.feed_of(&district("310115")), Some(feed_id(15)));
    assert_eq!(hub.directory.district_of(feed_id(15)).unwrap().code, district("310115"));
}

#[test]
fn a_token_is_good_up_to_its_last_millisecond() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    let cases = [(NOW, true), (NOW + DAY, true), (NOW + DAY + 1, false), (i64::MAX, false)];
    for (now_ms, good) in cases {
        let expected = if good { Ok(()) } else { Err(Refusal::TokenExpired) };
        assert_eq!(hub.try_join(15, "first", now_ms).map(drop), expected, "at {now_ms}");
    }
}

#[test]
fn a_district_has_one_feed_and_a_feed_one_district() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    let again = hub.directory.add_token(&token("310115", "second")).unwrap();
    hub.commit(again);
    hub.add_district("310106", "other");
    hub.join(15, "first");
    let taken = Refusal::HasFeed(district("310115"));
    assert_eq!(hub.try_join(16, "second", NOW), Err(taken.clone()));
    assert_eq!(hub.directory.add_token(&token("310115", "third")), Err(taken));
    assert_eq!(hub.try_join(15, "other", NOW), Err(Refusal::FeedTaken(feed_id(15))));
    hub.join(6, "other");
}

#[test]
fn a_suspended_district_is_refused_with_its_reason_and_taken_back() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    hub.set("310115", Standing::Suspended, Some("换证"));
    assert!(matches!(hub.try_join(15, "first", NOW), Err(Refusal::Suspended { .. })));
    hub.set("310115", Standing::Active, None);
    hub.join(15, "first");
    assert_eq!(hub.admit(15, 15, 1), Ok(()));
    hub.set("310115", Standing::Suspended, Some("换证"));
    let refusal = hub.admit(15, 15, 1).unwrap_err();
    assert!(refusal.to_string().contains("换证"), "{refusal}");
    assert!(hub.directory.bind(&certificate(15, 2)).is_err(), "nor may it renew");
    hub.set("310115", Standing::Active, None);
    assert_eq!(hub.admit(15, 15, 1), Ok(()));
}

#[test]
fn a_certificate_speaks_for_the_feed_it_is_bound_to() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    hub.add_district("310106", "other");
    hub.join(15, "first");
    hub.join(6, "other");
    let renewed = hub.directory.bind(&certificate(15, 2)).unwrap();
    hub.commit(renewed);
    let wrong = Refusal::WrongFeed { certificate: feed_id(6), feed: feed_id(15) };
    let cases = [
        ("its own", 15, 15, 1, Ok(())),
        ("its renewed one", 15, 15, 2, Ok(())),
        ("another district's", 15, 6, 1, Err(wrong)),
        ("one that was never bound", 15, 15, 9, Err(Refusal::CertificateUnbound)),
        ("a feed nobody knows", 99, 99, 1, Err(Refusal::UnknownFeed(feed_id(99)))),
    ];
    for (name, feed, speaks_for, n, expected) in cases {
        assert_eq!(hub.admit(feed, speaks_for, n), expected, "{name}");
    }
}

#[test]
fn the_granted_key_signs_the_feed() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    hub.join(15, "first");
    let change = Change {
        kind: OpType::RecordPut,
        subject: Vec::new(),
        base: None,
        payload: Vec::new(),
        visibility: Visibility::Public,
    };
    let stamp = Stamp { now_ms: NOW, uid: [0; 16], actor: String::new() };
    let entry = hub.directory.entry(feed_id(15)).unwrap();
    let own = node(15).author(Head::EMPTY, change.clone(), stamp.clone()).unwrap();
    assert_eq!(own.verify(&entry.keys), Ok(()));
    assert_eq!(entry.public_key, Some(node(15).public_key()));
    let foreign = node(6).author(Head::EMPTY, change, stamp).unwrap();
    assert!(foreign.verify(&entry.keys).is_err());
}

#[test]
fn commands_about_what_is_not_there_are_refused() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    let twice = hub.directory.add_district("又一个", &token("310115", "x"));
    assert_eq!(twice, Err(Refusal::DistrictExists(district("310115"))));
    let nowhere = Refusal::NoDistrict(district("310199"));
    assert_eq!(hub.directory.add_token(&token("310199", "x")), Err(nowhere.clone()));
    let stopped = hub.directory.suspend(&district("310199"), "停".to_owned(), false);
    assert_eq!(stopped, Err(nowhere));
    let same = hub.directory.resume(&district("310115"));
    assert_eq!(same, Err(Refusal::NoChange(district("310115"))));
    let unknown = hub.directory.bind(&certificate(15, 2));
    assert_eq!(unknown, Err(Refusal::UnknownFeed(feed_id(15))));
}

#[test]
fn replaying_the_feed_gives_the_same_directory() {
    let mut hub = Hub::new();
    for n in 1..=16 {
        hub.add_district(&format!("3101{n:02}"), &format!("secret {n}"));
        hub.join(n, &format!("secret {n}"));
        let renewed = hub.directory.bind(&certificate(n, n)).unwrap();
        hub.commit(renewed);
        if n % 5 == 0 {
            hub.set(&format!("3101{n:02}"), Standing::Suspended, Some("停"));
        }
    }
    let mut again = Directory::default();
    for (op, position) in hub.ops.iter().zip(1..) {
        again.apply(op).unwrap();
        assert_eq!(again.seq, position);
    }
    assert_eq!(format!("{again:?}"), format!("{:?}", hub.directory));
}

#[test]
fn an_op_that_cannot_be_read_is_skipped_and_later_ones_go_on() {
    let mut hub = Hub::new();
    let broken = |kind| Change {
        kind,
        subject: Vec::new(),
        base: None,
        payload: b"{".to_vec(),
        visibility: Visibility::Shared,
    };
    for kind in [OpType::DirDistrict, OpType::DirToken, OpType::DirFeed, OpType::KeyGrant] {
        hub.commit(vec![broken(kind)]);
        let mut copy = Directory::default();
        let error = copy.apply(hub.ops.last().unwrap()).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
    hub.commit(vec![broken(OpType::Unknown("policy.v9".to_owned()))]);
    hub.add_district("310115", "first");
    hub.join(15, "first");
    assert_eq!(hub.directory.seq, hub.ops.len() as u64);
    assert_eq!(hub.admit(15, 15, 1), Ok(()));
}

/// The districts of the city in the order in which they changed: code, name, what became of it and when.
///
/// Source: `domain/districts.csv`.
fn shanghai() -> Hub {
    let mut hub = Hub::new();
    let names = [
        ("310101", "黄浦区"),
        ("310103", "卢湾区"),
        ("310106", "静安区"),
        ("310108", "闸北区"),
        ("310115", "浦东新区"),
        ("310119", "南汇区"),
        ("310230", "崇明县"),
    ];
    for (code, name) in names {
        let changes = hub.directory.add_district(name, &token(code, code)).unwrap();
        hub.commit(changes);
    }
    let merges = [
        ("310119", "310115", date(2009, 5, 6)),
        ("310103", "310101", date(2011, 6, 8)),
        ("310108", "310106", date(2015, 11, 4)),
    ];
    hub.join(8, "310108");
    hub.join(30, "310230");
    for (code, into, day) in merges {
        let changes = hub.directory.merge(&district(code), &district(into), day).unwrap();
        hub.commit(changes);
    }
    let (code, new) = (district("310230"), district("310151"));
    let changes = hub.directory.rename(&code, &new, "崇明区", date(2016, 7, 22)).unwrap();
    hub.commit(changes);
    hub
}

#[test]
fn a_code_of_any_time_means_the_district_of_the_day() {
    let hub = shanghai();
    let table = [
        ("310119", date(2008, 1, 1), "南汇区"),
        ("310119", date(2009, 5, 5), "南汇区"),
        ("310119", date(2009, 5, 6), "浦东新区"),
        ("310115", date(2008, 1, 1), "浦东新区"),
        ("310103", date(2016, 5, 11), "黄浦区"),
        ("310108", date(2015, 11, 3), "闸北区"),
        ("310108", date(2015, 11, 4), "静安区"),
        ("310106", date(2015, 11, 3), "静安区"),
        // The plan of 11 May 2016 still names the county.
        ("310230", date(2016, 5, 11), "崇明县"),
        ("310151", date(2016, 5, 11), "崇明县"),
        ("310230", date(2016, 7, 22), "崇明区"),
        ("310151", date(2016, 7, 22), "崇明区"),
    ];
    for (code, day, name) in table {
        assert_eq!(hub.directory.name_at(&district(code), day), Some(name), "{code} on {day}");
    }
    assert_eq!(hub.directory.name_at(&district("310199"), date(2016, 1, 1)), None);
    assert_eq!(hub.directory.former(&district("310151")), [district("310230")]);
    assert_eq!(hub.directory.former(&district("310106")), [district("310108")]);
    assert!(hub.directory.former(&district("310230")).is_empty());
}

#[test]
fn a_feed_goes_with_its_renamed_district_and_stays_with_one_that_ended() {
    let hub = shanghai();
    assert_eq!(hub.directory.feed_of(&district("310151")), Some(feed_id(30)));
    assert_eq!(hub.directory.feed_of(&district("310230")), None);
    assert_eq!(hub.directory.district_of(feed_id(30)).unwrap().name, "崇明区");
    assert_eq!(hub.admit(30, 30, 1), Ok(()));
    // What the node of a district that ended still holds is wanted.
    assert_eq!(hub.directory.district_of(feed_id(8)).unwrap().name, "闸北区");
    assert_eq!(hub.admit(8, 8, 1), Ok(()));
}

#[test]
fn what_has_a_successor_is_changed_no_more() {
    let hub = shanghai();
    let (directory, day) = (&hub.directory, date(2017, 1, 1));
    for (code, successor) in [("310108", "310106"), ("310230", "310151")] {
        let refused = Refusal::Succeeded(district(code), district(successor));
        let (code, other) = (district(code), district("310101"));
        let refusals = [
            directory.suspend(&code, "停".to_owned(), false),
            directory.resume(&code),
            directory.rename(&code, &district("310199"), "又一区", day),
            directory.merge(&code, &other, day),
            directory.merge(&other, &code, day),
            directory.add_token(&token(code.as_str(), "x")),
        ];
        for found in refusals {
            assert_eq!(found, Err(refused.clone()));
        }
    }
    let (one, two) = (district("310101"), district("310115"));
    assert_eq!(
        directory.rename(&one, &two, "黄浦区", day),
        Err(Refusal::DistrictExists(two)),
        "a code is not taken from another district"
    );
    assert_eq!(directory.merge(&one, &one, day), Err(Refusal::NoChange(one.clone())));
}

#[test]
fn a_revoked_certificate_is_refused_with_its_reason_and_the_next_one_is_good() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    hub.join(15, "first");
    let renewed = hub.directory.bind(&certificate(15, 2)).unwrap();
    hub.commit(renewed);
    let revoke = CertRevoke {
        feed: feed_id(15),
        fingerprint: Hash::new([1; 32]),
        reason: "笔记本失窃".to_owned(),
    };
    let changes = hub.directory.revoke_certificate(&revoke).unwrap();
    hub.commit(changes);
    let reason = Refusal::CertificateRevoked("笔记本失窃".to_owned());
    assert_eq!(hub.admit(15, 15, 1), Err(reason));
    assert_eq!(hub.admit(15, 15, 2), Ok(()));
    let twice = hub.directory.revoke_certificate(&revoke);
    assert_eq!(twice, Err(Refusal::NoCertificate(Hash::new([1; 32]))));
}

#[test]
fn a_new_node_goes_on_with_the_feed_of_a_lost_one() {
    let mut hub = Hub::new();
    hub.add_district("310115", "first");
    hub.join(15, "first");
    let again = Token { feed: Some(feed_id(15)), ..token("310115", "again") };
    let none = Token { feed: Some(feed_id(6)), ..token("310115", "none") };
    assert_eq!(hub.directory.add_token(&none), Err(Refusal::NoFeed(district("310115"))));
    let changes = hub.directory.add_token(&again).unwrap();
    hub.commit(changes);
    let new = Author::new(feed_id(15), SigningKey::from_bytes(&[99; 32]));
    let grant = FeedGrant {
        feed: feed_id(15),
        code: district("310115"),
        token: again.hash,
        instance: InstanceId::new([99; 16]),
        key: Some(new.key_id()),
    };
    let other = FeedGrant { feed: feed_id(6), ..grant.clone() };
    assert_eq!(hub.directory.replace(&other, NOW), Err(Refusal::FeedTaken(feed_id(6))));
    let changes = hub.directory.replace(&grant, NOW).unwrap();
    hub.commit(changes);
    assert!(matches!(hub.admit(15, 15, 1), Err(Refusal::CertificateRevoked(_))), "the old one");
    assert_eq!(hub.directory.replace(&grant, NOW), Err(Refusal::TokenUsed));
    // The hub stops here and goes on later: whoever holds the key asks again, and nobody else.
    assert_eq!(hub.directory.joined_with(again.hash, &new.public_key()), Some(feed_id(15)));
    assert_eq!(hub.directory.joined_with(again.hash, &node(6).public_key()), None);
    let key = KeyGrant {
        feed: feed_id(15),
        public_key: Hash::new(new.public_key()),
        from_seq: 8,
        cause: None,
    };
    for changes in [2, 1] {
        let seat = hub.directory.seat(&key, &certificate(15, 3)).unwrap();
        assert_eq!(seat.len(), changes, "the key is granted once");
        hub.commit(seat);
    }
    assert_eq!(hub.admit(15, 15, 3), Ok(()));
    let entry = &hub.directory.feeds[&feed_id(15)];
    assert_eq!(entry.incarnation, 2);
    let stretches: Vec<_> = entry.keys.list().iter().map(|k| (k.from_seq, k.until_seq)).collect();
    assert_eq!(stretches, [(1, Some(7)), (8, None)]);
}
