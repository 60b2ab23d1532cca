//! What is printed for other programs to read has runc's shape: keys, columns, lines. What differs by nature is left out: ids,
//! pids, times.

use holdfast_tests::Sandbox;
use serde_json::Value;

#[test]
fn the_state_has_the_same_keys_and_values() {
    let sandbox = Sandbox::new("rw-state");
    let bundle = sandbox.bundle(["sleep", "1000"]).edit(|config| {
        config["annotations"] = serde_json::json!({"org.example.b": "2", "org.example.a": "ä"});
    });
    let script = "quietly $TOOL create -b $BUNDLE $ID; $TOOL state $ID; echo; echo ----; \
        $TOOL start $ID; soon is running; $TOOL state $ID; echo; echo ----; \
        $TOOL kill $ID KILL; soon is stopped; $TOOL state $ID; quietly $TOOL delete $ID";
    let [runc, ours] = sandbox.beside_runc(&bundle, script);
    let split = |said: &str| -> Vec<Value> {
        let states = said.split("----");
        states
            .map(|state| serde_json::from_str(state).unwrap())
            .collect()
    };
    let statuses = ["created", "running", "stopped"];
    for ((wanted, got), status) in split(&runc).into_iter().zip(split(&ours)).zip(statuses) {
        assert_eq!(got["status"], status);
        let keys =
            |state: &Value| -> Vec<String> { state.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&got), keys(&wanted));
        for key in keys(&got) {
            match key.as_str() {
                "pid" => assert_eq!(got["pid"] == 0, wanted["pid"] == 0),
                // runc's own version; a bundle's, as it says itself, is the one that counts for whoever reads it.
                "ociVersion" => assert_eq!(got[&key], bundle.config()["ociVersion"]),
                "created" => assert!(got[&key].as_str().unwrap().ends_with('Z')),
                _ => assert_eq!(got[&key], wanted[&key], "{key}"),
            }
        }
        // Scripts grep for a key with its blank.
        assert!(
            ours.contains(&format!("\n  \"status\": \"{status}\",\n")),
            "{ours}"
        );
    }
}

#[test]
fn the_list_has_the_same_columns_and_keys() {
    let sandbox = Sandbox::new("rw-list");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let table = "$TOOL list; quietly $TOOL run -d -b $BUNDLE $ID; $TOOL list; $TOOL kill $ID 9; soon is stopped; \
        $TOOL list; $TOOL delete $ID";
    let [runc, ours] = sandbox.beside_runc(&bundle, table);
    assert_eq!(ours.lines().count(), 5, "{ours}");
    for (wanted, got) in runc.lines().zip(ours.lines()) {
        let (wanted, got) = (columns(wanted), columns(got));
        assert_eq!(got.len(), wanted.len(), "{runc}{ours}");
        for (column, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
            // What comes after the time of creation is moved by its length, which differs, as pids do.
            assert!(column == 5 || got.0 == wanted.0, "{runc}{ours}");
            assert!(
                [1, 4].contains(&column) || got.1 == wanted.1,
                "{runc}{ours}"
            );
        }
    }

    let quiet = "$TOOL list -q; quietly $TOOL run -d -b $BUNDLE $ID; $TOOL list -q; $TOOL list --quiet; $TOOL delete -f $ID";
    assert_eq!(sandbox.same_as_runc(&bundle, quiet), "ID\nID\n");

    let json = "quietly $TOOL run -d -b $BUNDLE $ID; $TOOL list -f json; echo; $TOOL list --format=json; $TOOL delete -f $ID";
    let [runc, ours] = sandbox.beside_runc(&bundle, json);
    for (wanted, got) in runc.split_whitespace().zip(ours.split_whitespace()) {
        let [wanted, got] =
            [wanted, got].map(|said| serde_json::from_str::<Vec<Value>>(said).unwrap());
        let keys = |list: &[Value]| -> Vec<String> {
            list[0].as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&got), keys(&wanted));
        for key in ["id", "status", "bundle", "rootfs", "owner"] {
            assert_eq!(got[0][key], wanted[0][key], "{key}");
        }
    }
    // Nothing is an empty list, where runc says null: a script that takes each has no use for that.
    assert_eq!(
        sandbox
            .beside_runc(&bundle, "$TOOL list -f json")
            .map(|said| said.trim().to_owned()),
        ["null", "[]"]
    );
}

/// The words of a line and where they begin.
fn columns(line: &str) -> Vec<(usize, String)> {
    let mut columns = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c != ' ') {
        let offset = line.len() - rest.len() + start;
        let word: String = line[offset..].chars().take_while(|&c| c != ' ').collect();
        rest = &line[offset + word.len()..];
        columns.push((offset, word));
    }
    columns
}

#[test]
fn processes_are_listed_alike() {
    let sandbox = Sandbox::new("rw-ps");
    let bundle = sandbox.sh("sleep 1000 & sleep 1001 & wait");
    let numbers = "s/[0-9][0-9]*/N/g; s/  */ /g; s/^ //";
    let script = format!(
        "quietly $TOOL run -d -b $BUNDLE $ID
         sleeps() {{ [ \"$($TOOL ps $ID -o pid,args | grep -c '^ *[0-9]* sleep 100')\" = 2 ]; }}
         soon sleeps
         numbers() {{ sed '{numbers}'; }}
         $TOOL ps -f json $ID | numbers; echo
         $TOOL ps --format=json $ID | numbers; echo
         $TOOL ps $ID -o pid,args | sed 's/^ *[0-9]*//' | sort
         $TOOL ps $ID -eo pid,stat,comm | numbers | sort
         $TOOL ps $ID | sed 's/:[0-9]*//g' | numbers | sort
         refuses $TOOL ps $ID -o args
         $TOOL kill -a $ID KILL; soon is stopped
         $TOOL ps $ID
         $TOOL delete $ID
         refuses $TOOL ps $ID"
    );
    let said = sandbox.same_as_runc(&bundle, &script);
    assert!(said.starts_with("[N,N,N]\n"), "{said}");
    assert!(
        said.contains(" sleep 1001\n") && said.contains("UID PID"),
        "{said}"
    );
}
