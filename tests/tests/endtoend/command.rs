//! What people meet on the command line.

use liandong_tests::{City, rows, wait_until};
use serde_json::json;

use crate::PROGRAM;

#[tokio::test]
async fn a_second_process_on_a_directory_is_refused_with_the_number_of_the_first() {
    let city = City::start(PROGRAM).await;
    let node = city.join("310115", "浦东新区").await;
    for member in [&city.hub, &node] {
        let ran = member.cli(&["serve"]).await.exits(4);
        let number = member.pid().unwrap().to_string();
        assert!(ran.stderr.contains("正被另一进程使用") && ran.stderr.contains(&number), "{ran:?}");
        assert!(ran.stderr.contains("in use by another process"), "{ran:?}");
        member.status().await;
    }
    // Neither is a second hub or node made over the first.
    let _refused = city.hub.cli(&["init"]).await.exits(4);
}

#[tokio::test]
async fn help_shows_examples_and_exit_codes() {
    let city = City::prepare(PROGRAM).await;
    for (member, example) in [
        (&city.hub, "liandong-hub --dir city district add --code 310115"),
        (&city.node("310115"), "liandong-node --dir pudong import 目录.xlsx --dry-run"),
    ] {
        let told = member.cli(&["--help"]).await.exits(0).stdout;
        assert!(told.contains("示例 / Examples") && told.contains(example), "{told}");
        assert!(told.contains("退出码"), "{told}");
        let ran = member.cli(&["no-such-command"]).await.exits(2);
        assert!(ran.stderr.contains("no-such-command"), "{ran:?}");
        let script = member.cli(&["completions", "bash"]).await.exits(0).stdout;
        assert!(script.contains("complete -F"), "{script}");
    }
}

#[tokio::test]
async fn an_unknown_configuration_key_is_refused_by_name() {
    let city = City::prepare(PROGRAM).await;
    let mut city = city;
    city.hub.start().await;
    let node = city.enrol("310115", "浦东新区").await;
    city.hub.stop().await;
    for member in [&city.hub, &node] {
        let path = member.dir().join("config.toml");
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, good.replace("[http]", "[http]\nlisten_on = 80")).unwrap();
        let ran = member.cli(&["serve"]).await.exits(2);
        assert!(ran.stderr.contains("没有名为 http.listen_on 的配置项"), "{ran:?}");
        assert!(ran.stderr.contains("config.toml"), "{ran:?}");
        let doctor = member.cli(&["doctor"]).await.exits(1);
        assert!(doctor.stderr.contains("http.listen_on"), "{doctor:?}");
        std::fs::write(&path, good).unwrap();
    }
    // A value out of its range too, with what is allowed.
    city.hub.set_env("LIANDONG_CERTIFICATES__TTL_SECS", "1");
    let ran = city.hub.cli(&["serve"]).await.exits(2);
    assert!(
        ran.stderr.contains("certificates.ttl_secs") && ran.stderr.contains("31536000"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn the_doctor_finds_a_healthy_node_healthy_and_says_what_a_broken_one_lacks() {
    let mut city = City::start(PROGRAM).await;
    std::fs::rename(city.hub.dir().join("root.pem"), city.root().join("offline.pem")).unwrap();
    let mut node = city.join("310115", "浦东新区").await;
    for member in [&city.hub, &node] {
        let told = member.cli(&["doctor"]).await.exits(0);
        assert!(told.stdout.matches('✓').count() >= 3 && told.stderr.is_empty(), "{told:?}");
        let checks = member.cli_json(&["doctor"]).await;
        assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks}");
    }
    // The hub is away.
    city.hub.stop().await;
    let told = node.cli(&["doctor"]).await.exits(1);
    assert!(
        told.stderr.contains("对方没有在该端口监听") && told.stderr.contains("办法"),
        "{told:?}"
    );
    assert_eq!(told.stdout.matches('✓').count(), 3, "{told:?}");
    // The certificate is gone.
    node.stop().await;
    std::fs::remove_file(node.dir().join("keys/tls.pem")).unwrap();
    let told = node.cli(&["doctor"]).await.exits(1);
    assert!(told.stderr.contains("tls.pem"), "{told:?}");
    // There is no node at all.
    let told = city.node("nowhere").cli(&["doctor"]).await.exits(1);
    assert!(told.stderr.contains("config.toml") || told.stderr.contains("没有节点"), "{told:?}");
}

#[tokio::test]
async fn a_record_is_written_with_the_command_line_whether_the_node_runs_or_not() {
    let city = City::start(PROGRAM).await;
    let mut node = city.join("310115", "浦东新区").await;
    let file = city.root().join("record.json");
    let put = ["record", "put", file.to_str().unwrap()].map(str::to_owned);
    let put: Vec<&str> = put.iter().map(String::as_str).collect();
    std::fs::write(&file, rows::content(1).to_string()).unwrap();
    let running = node.cli_json(&put).await;
    assert_eq!(running["seq"], 1);
    node.stop().await;
    std::fs::write(&file, rows::content(2).to_string()).unwrap();
    let stopped = node.cli_json(&put).await;
    assert_eq!(stopped["seq"], 2);
    node.start().await;
    city.level(&node).await;

    // Somebody else was faster.
    let id = running["id"].as_str().unwrap();
    let seen = running["op_hash"].as_str().unwrap();
    std::fs::write(&file, rows::content(3).to_string()).unwrap();
    let edit = [&put[..], &["--id", id, "--expect", seen]].concat();
    let _edited = node.cli(&edit).await.exits(0);
    std::fs::write(&file, rows::content(4).to_string()).unwrap();
    let ran = node.cli(&edit).await.exits(4);
    assert!(ran.stderr.contains("已被他人修改"), "{ran:?}");
    // Content that breaks rules is told whole.
    std::fs::write(&file, json!({ "信息资源名称": "" }).to_string()).unwrap();
    let ran = node.cli(&put).await.exits(3);
    assert!(
        ran.stderr.contains("R04.title.missing") && ran.stderr.contains("R04.provider.missing"),
        "{ran:?}"
    );
    std::fs::write(&file, "{").unwrap();
    let _refused = node.cli(&put).await.exits(3);
    // Programs get the same as people.
    let shown = node.cli_json(&["record", "show", id]).await;
    assert_eq!(shown["record"]["title"], rows::Row::new(3).title);
    wait_until("the hub has it", async || {
        let shown = node.cli_json(&["record", "show", id]).await;
        (shown["at_hub"] == "accepted").then_some(()).ok_or_else(|| shown.to_string())
    })
    .await;
    let listed = node.cli_json(&["record", "list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let export = city.root().join("out.csv");
    let _exported =
        node.cli(&["export", export.to_str().unwrap(), "--format", "csv"]).await.exits(0);
    assert!(std::fs::read_to_string(&export).unwrap().contains(&rows::Row::new(2).title));
}
