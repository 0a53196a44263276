//! A hub, then another one on what the first has written down.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use controlplane_room::{Admission, Grant, Input, Join, Origin, Reply, Role};

use super::*;
use crate::config::Config;
use crate::dataplane::Client;
use crate::metrics::Metrics;
use crate::openvidu::Hub;
use crate::openvidu::dto::SessionProperties;
use crate::openvidu::settings::Settings;
use crate::store::{Store, StoreError};

/// A store that can refuse to write.
#[derive(Debug, Default)]
struct Disk {
    records: crate::store::MemoryStore,
    is_full: AtomicBool,
}

impl Store for Disk {
    fn load(&self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        self.records.load()
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::Relaxed) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StoreError::Folder { dir: "disk".into(), source });
        }
        self.records.commit(writes)
    }
}

/// A hub on a disk, without a data plane.
fn hub(disk: &Arc<Disk>) -> Arc<Hub> {
    let client = Client::spawn("/nonexistent/millrace.sock".into());
    let metrics = Metrics::new(&client).unwrap();
    let keeping = Keeping::with(disk.clone());
    Hub::start(settings(), client, metrics, EventLog::default(), keeping).unwrap()
}

fn settings() -> Settings {
    let environment = HashMap::from([("OPENVIDU_SECRET".to_owned(), "S".to_owned())]);
    Settings::from_config(&Config::load([OsString::from("test")], &environment, "").unwrap().config)
}

fn properties(id: &str) -> SessionProperties {
    SessionProperties {
        media_mode: "ROUTED".into(),
        recording_mode: "MANUAL".into(),
        custom_session_id: id.into(),
        forced_video_codec: "NONE".into(),
        allow_transcoding: false,
        default_recording: serde_json::json!({"name": "", "hasAudio": true}),
        media_node: None,
    }
}

async fn invite(hub: &Arc<Hub>, room: &Arc<RoomHandle>) -> (String, String) {
    let grant = Grant { role: Role::Publisher, server_data: "data".into(), record: true, participant: None };
    match hub.perform(room, Input::Invite(grant), &mut |_, _| {}).await {
        Ok(Reply::Invited { participant, token }) => (participant, token),
        other => panic!("{other:?}"),
    }
}

fn join(token: String) -> Input {
    Input::Join(Join { admission: Admission::Token(token), client_data: String::new(), origin: Origin::default() })
}

#[tokio::test]
async fn another_hub_finds_sessions_and_tokens_in_their_order() {
    let disk = Arc::<Disk>::default();
    let first = hub(&disk);
    let room = first.create_room(properties("a")).unwrap();
    first.create_room(properties("b")).unwrap();
    let mut invited = Vec::new();
    for _ in 0..20 {
        invited.push(invite(&first, &room).await);
    }
    first.perform(&room, join(invited[3].1.clone()), &mut |_, _| {}).await.unwrap();
    let second = hub(&disk);
    assert_eq!(second.all_rooms().len(), 2);
    let again = second.room("a").unwrap();
    assert_eq!((again.created_at, &again.properties), (room.created_at, &room.properties));
    {
        let (before, after) = (room.lock(), again.lock());
        assert_eq!(after.room.invites(), before.room.invites());
        assert_eq!(after.room.participants().len(), 1);
        assert_eq!(after.connections, before.connections);
    }
    assert!(second.perform(&again, join(invited[3].1.clone()), &mut |_, _| {}).await.is_err(), "it is used up");
    second.perform(&again, join(invited[4].1.clone()), &mut |_, _| {}).await.unwrap();
    second
        .perform(&again, Input::Close { reason: controlplane_room::EndReason::RoomClosedByApplication }, &mut |_, _| {})
        .await
        .unwrap();
    assert_eq!(hub(&disk).all_rooms().len(), 1, "what has ended does not come again");
}

#[tokio::test]
async fn what_a_full_disk_refused_is_written_with_the_next_step() {
    let disk = Arc::<Disk>::default();
    let first = hub(&disk);
    disk.is_full.store(true, Ordering::Relaxed);
    let room = first.create_room(properties("a")).unwrap();
    let (early, _) = invite(&first, &room).await;
    assert!(hub(&disk).room("a").is_none());
    assert_eq!(first.metrics.store.failures(), 2);
    disk.is_full.store(false, Ordering::Relaxed);
    let (late, _) = invite(&first, &room).await;
    let again = hub(&disk).room("a").unwrap();
    let invited: Vec<_> = again.lock().room.invites().iter().map(|invite| invite.participant.clone()).collect();
    assert_eq!(invited, [early, late]);
}

#[tokio::test]
async fn a_session_is_not_undone_by_an_ended_one_of_its_name() {
    let disk = Arc::<Disk>::default();
    let first = hub(&disk);
    let close = || Input::Close { reason: controlplane_room::EndReason::RoomClosedByApplication };
    for is_full in [false, true] {
        let old = first.create_room(properties("a")).unwrap();
        let (_, token) = invite(&first, &old).await;
        let Ok(Reply::Joined { participant }) = first.perform(&old, join(token), &mut |_, _| {}).await else {
            panic!()
        };
        // An end that the disk does not take is made up for.
        disk.is_full.store(is_full, Ordering::Relaxed);
        first.perform(&old, close(), &mut |_, _| {}).await.unwrap();
        disk.is_full.store(false, Ordering::Relaxed);
        let new = first.create_room(properties("a")).unwrap();
        let (invited, _) = invite(&first, &new).await;
        // What comes late for the old one.
        let _ = first.perform(&old, Input::Tick, &mut |_, _| {}).await;
        let _ = first.perform(&old, Input::SocketLost { participant }, &mut |_, _| {}).await;
        {
            let second = hub(&disk);
            let again = second.room("a").expect("the new session is kept");
            let inner = again.lock();
            assert!(inner.room.participants().is_empty());
            assert_eq!(inner.room.invites().iter().map(|i| &i.participant).collect::<Vec<_>>(), [&invited]);
        }
        first.perform(&new, close(), &mut |_, _| {}).await.unwrap();
        assert_eq!(disk.load().unwrap(), []);
    }
}

#[tokio::test]
async fn unreadable_records_cost_no_others() {
    let disk = Arc::<Disk>::default();
    let first = hub(&disk);
    for id in ["a", "b"] {
        let room = first.create_room(properties(id)).unwrap();
        invite(&first, &room).await;
        invite(&first, &room).await;
    }
    let records = disk.load().unwrap();
    let of = |scope: &str, kind: Kind| {
        records.iter().map(|(key, _)| key).find(|key| key.scope == scope && key.kind == kind as u8).unwrap().clone()
    };
    let strange = Key { scope: "c".into(), kind: 99, name: "from the future".into() };
    let spoilt =
        [of("a", Kind::Invite), of("b", Kind::Session), strange].map(|key| Write::Put(key, b"{\"place\":".to_vec()));
    disk.commit(&spoilt).unwrap();
    let second = hub(&disk);
    assert!(second.room("b").is_none(), "a session without its own record is none");
    assert!(disk.load().unwrap().iter().all(|(key, _)| key.scope != "b"), "nor is anything left of it");
    assert_eq!(second.room("a").unwrap().lock().room.invites().len(), 1);
}

#[test]
fn a_record_of_this_version_is_read_by_later_ones() {
    // As it was written when the format began: members may be added, these stay.
    let session =
        br#"{"created_at":5,"properties":{"media_mode":"ROUTED","recording_mode":"MANUAL","custom_session_id":"a",
        "forced_video_codec":"NONE","allow_transcoding":false,"default_recording":{},"media_node":null}}"#;
    let record: records::SessionRecord<'static> = serde_json::from_slice(session).unwrap();
    assert_eq!((record.created_at, record.properties.custom_session_id.as_str()), (5, "a"));
    let invite =
        br#"{"place":3,"invite":{"participant":"con_x","token":"tok_y","grant":{"role":"Moderator","server_data":"",
        "record":true,"participant":null},"created_at":7},"properties":{"kurento_options":null,"ice_servers":[]}}"#;
    let record: records::InviteRecord<'static> = serde_json::from_slice(invite).unwrap();
    assert_eq!((record.place, record.invite.grant.role), (3, Role::Moderator));
    let seat = br#"{"id":"rpc","user":"u","address":"192.0.2.1","has_published":true,"cursor":4}"#;
    let record: records::SeatRecord<'static> = serde_json::from_slice(seat).unwrap();
    assert_eq!((&*record.id, record.cursor), ("rpc", Some(4)));
}
