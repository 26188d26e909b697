//! What is wrong with a channel's path is said in one line, and two data planes never share one.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::alone;
use crate::data_plane::{self, DataPlane, Folder};
use crate::io::DRIVE_FILES;
use crate::rig::{Link, MEM, Rig, workload};

/// The one line that a data plane says before it ends with 1.
fn refusal(channel: &Path) -> String {
    let output = data_plane::refused(channel);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
    assert_eq!(told.lines().count(), 1, "{told}");
    let start = format!("gantry-dataplane: channel {}: ", channel.display());
    told.trim_end().strip_prefix(&start).unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[test]
fn a_path_of_no_use_is_one_clear_line() {
    let _alone = alone();
    let folder = Folder::new();
    let missing = folder.path("no/such/folder");
    assert!(refusal(&missing).contains("No such file or directory"));
    assert!(refusal(&folder.path(&"x".repeat(120))).contains("path must be shorter"));
    let file = folder.path("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(refusal(&file).contains("it exists and is no socket"));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert_eq!(folder.names().into_iter().collect::<Vec<_>>(), ["file"], "nothing else is made");
}

/// A data plane that was killed leaves its socket; the next one takes the path over.
#[test]
fn a_socket_that_nobody_answers_is_replaced() {
    let _alone = alone();
    let folder = Folder::new();
    let channel = folder.path("channel");
    let dead = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    dead.bind(&SockAddr::unix(&channel).unwrap()).unwrap();
    drop(dead);
    assert!(std::fs::metadata(&channel).unwrap().file_type().is_socket());
    DataPlane::start(&channel, 1, &[]).stop();
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

/// The second is refused, and the first, its control and its host notice nothing.
#[test]
fn a_second_data_plane_on_the_same_path_is_refused() {
    let _alone = alone();
    let folder = Folder::new();
    let channel = folder.path("channel");
    let mut rig = Rig::start(Link::Vhost, folder, &[]);
    rig.connect(5_000);
    let sessions = |rig: &Rig| rig.plane.told().matches("control has").count();
    let before = sessions(&rig);
    let refused = refusal(&channel);
    assert!(refused.contains("another gantry-dataplane answers there; stop it first"), "{refused}");
    // Control is still needed for this.
    rig.run(&mut workload(MEM), Duration::from_millis(300));
    rig.disconnect();
    rig.connect(5_000);
    rig.disconnect();
    assert_eq!(sessions(&rig), before, "control has kept its session");
    rig.stop(DRIVE_FILES);
}
