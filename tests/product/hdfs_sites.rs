//! The hdfs sink where sites are more than one NameNode without passwords: a name service of two, and Kerberos; and what it says
//! of a site whose files are small.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::agent::{Agent, flumen};
use crate::clock;
use crate::hadoop::{Cluster, SERVICE};
use crate::hdfs::{EXACT, line, lines, wait_exact, wait_seen, wrong};
use crate::kerberos::Kdc;
use crate::world::{World, eventually};

/// How long tickets last that are to run out: more than it takes to use one.
const LIFE: Duration = Duration::from_secs(10);

/// The agent `a1`, with nothing of Hadoop in its surroundings.
fn agent(world: &World) -> Command {
    let mut command = flumen(world.root());
    command.args(["agent", "-n", "a1", "-f", "flume.conf"]).env("HOME", world.root());
    command.env_remove("HADOOP_CONF_DIR").env_remove("HADOOP_HOME").env_remove("HADOOP_USER_NAME");
    command
}

#[test]
fn a_name_service_is_written_to_through_failovers_of_its_namenodes() {
    let Some(mut cluster) = Cluster::start_pair() else { return };
    let service = EXACT.replace("hdfs://@NAMENODE@/", &format!("hdfs://{SERVICE}/"));
    // One file for all of it: what is open goes on.
    let service = service.replace("rollInterval = 2", "rollInterval = 0");
    // A failover takes as long as it takes.
    let world = World::new(&service.replace("callTimeout = 5000", "callTimeout = 60000"));
    let first =
        world.spawn(agent(&world).env("HADOOP_USER_NAME", "root").env("HADOOP_CONF_DIR", cluster.conf()));
    world.append("in/a.log", lines(0..100));
    wait_seen(&cluster, "/flume/exact", 100);
    cluster.kill_namenode();
    world.append("in/a.log", lines(100..200));
    cluster.activate(1);
    wait_seen(&cluster, "/flume/exact", 200);
    first.stop();
    wait_exact(&cluster, "/flume/exact", 200);

    let second = world.spawn(agent(&world).env("HADOOP_USER_NAME", "root").arg("-c").arg(cluster.conf()));
    world.append("in/a.log", lines(200..300));
    wait_seen(&cluster, "/flume/exact", 300);
    cluster.spawn_namenode(0);
    cluster.activate(0);
    world.append("in/a.log", lines(300..400));
    wait_seen(&cluster, "/flume/exact", 400);
    second.stop();
    wait_exact(&cluster, "/flume/exact", 400);
}

/// How often the agent says that a file has its last name.
fn finished(agent: &Agent) -> usize {
    agent.said().matches("Renamed ").count()
}

#[test]
fn with_a_keytab_files_are_written_under_each_protection_and_in_a_proxy_users_name() {
    let Some(kdc) = Kdc::start() else { return };
    kdc.add("flume");
    let Some(mut cluster) = Cluster::start_secure(&kdc, "authentication") else { return };
    let keys = format!(
        "a1.sinks.k1.hdfs.kerberosPrincipal = {}\na1.sinks.k1.hdfs.kerberosKeytab = {}\n",
        kdc.principal("flume"),
        kdc.keytab().display()
    );
    for (at, protection) in ["authentication", "integrity", "privacy"].into_iter().enumerate() {
        if at > 0 {
            cluster.protect_by(&kdc, protection);
        }
        // The last one in another user's name.
        let (user, more) = match protection {
            "privacy" => ("alice", "a1.sinks.k1.hdfs.proxyUser = alice\n"),
            _ => ("flume", ""),
        };
        let config = EXACT.replace("hdfs://@NAMENODE@/flume/exact", &format!("/flume/{protection}"));
        let world = World::new(&format!("{config}{keys}{more}"));
        world.append("in/a.log", lines(0..2000));
        let mut command = agent(&world);
        command.env("KRB5_CONFIG", kdc.conf()).env("HADOOP_CONF_DIR", cluster.conf());
        command.env("KRB5CCNAME", format!("FILE:{}", world.path("no-tickets").display()));
        let agent = world.spawn(&mut command);
        eventually(|| finished(&agent) > 0, || format!("{protection}: nothing is finished"));
        agent.stop();
        let text = cluster.shell(&kdc, &["-cat", &format!("/flume/{protection}/*")]);
        assert_eq!(wrong(&text, 2000), [], "{protection}");
        if protection == "integrity" {
            continue;
        }
        let owners = cluster.shell(&kdc, &["-stat", "%u", &format!("/flume/{protection}/*")]);
        assert!(owners.lines().all(|owner| owner == user) && !owners.is_empty(), "{protection}: {owners}");
    }
    // Tickets that have run out when a connection is made.
    kdc.shorten("flume", LIFE.as_secs());
    let config = EXACT.replace("hdfs://@NAMENODE@/flume/exact", "/flume/renewed");
    let world = World::new(&format!("{config}{keys}"));
    world.append("in/a.log", lines(0..100));
    let mut command = agent(&world);
    command.env("KRB5_CONFIG", kdc.conf()).env("HADOOP_CONF_DIR", cluster.conf());
    command.env("KRB5CCNAME", format!("FILE:{}", world.path("no-tickets").display()));
    let long = world.spawn(&mut command);
    eventually(|| finished(&long) > 0, || "nothing is finished".into());
    sleep(LIFE + Duration::from_secs(1));
    cluster.kill_namenode();
    cluster.start_namenode();
    cluster.wait_ready();
    let before = finished(&long);
    world.append("in/a.log", lines(100..200));
    eventually(|| finished(&long) > before, || "nothing is finished with a new ticket".into());
    long.stop();
    assert_eq!(wrong(&cluster.shell(&kdc, &["-cat", "/flume/renewed/*"]), 200), []);
    // Without the keytab's key nobody is let in, and the agent says why and keeps what it has.
    let config = EXACT.replace("hdfs://@NAMENODE@/flume/exact", "/flume/none");
    let world = World::new(&config);
    world.append("in/a.log", line(0));
    let mut command = agent(&world);
    command.env("KRB5_CONFIG", kdc.conf()).env("HADOOP_CONF_DIR", cluster.conf());
    command.env("KRB5CCNAME", format!("FILE:{}", world.path("no-tickets").display()));
    let agent = world.spawn(&mut command);
    agent.wait_for(&["sink failed", "GSS"]);
    agent.stop();
}

#[test]
fn an_hour_of_small_files_is_said_with_what_to_do() {
    let Some(cluster) = Cluster::start(1) else { return };
    let config = EXACT.replace("@NAMENODE@", &cluster.namenode());
    let world = World::new(&config.replace("rollCount = 0", "rollCount = 1"));
    if !clock::build(&world) {
        return;
    }
    let mut command = agent(&world);
    command.env("HADOOP_USER_NAME", "root").env("LD_PRELOAD", world.path("clock.so"));
    let agent = world.spawn(command.env("FLUMEN_UPTIME", world.path("uptime")));
    world.append("in/a.log", lines(0..20));
    wait_exact(&cluster, "/flume/exact", 20);
    std::fs::write(world.path("uptime"), "3600").unwrap();
    agent.wait_for(&["files in the last hour", "hdfs.rollInterval", "hdfs.rollCount"]);
}
