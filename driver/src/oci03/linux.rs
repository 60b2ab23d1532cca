//! The object `linux` of a config.json of then. Go wrote a number that was not set as 0, a text as "", a list as null: none
//! of them may become a limit.

use serde_json::{Map, Value, json};

use super::translate::Refusal;
use crate::template;

type Object = Map<String, Value>;

/// Takes an object out; one that is not there, or null, is empty.
pub(super) fn take(parent: &mut Object, key: &str) -> Result<Object, Refusal> {
    match parent.shift_remove(key) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(format!("{key}: is not an object")),
    }
}

/// What is left of it when the process has got its part.
pub(super) fn translate(mut linux: Object) -> Result<Object, Refusal> {
    linux.retain(|_, value| !is_unset(value));
    let mut devices = Vec::new();
    if let Some(list) = linux.get_mut("devices") {
        devices = nodes(list)?;
    }
    let resources = take(&mut linux, "resources")?;
    linux.insert(
        "resources".to_owned(),
        Value::Object(self::resources(resources, devices)?),
    );
    if let Some(list) = linux.get_mut("namespaces") {
        namespaces(list)?;
    }
    if let Some(filter) = linux.shift_remove("seccomp") {
        linux.extend(seccomp(filter)?.map(|filter| ("seccomp".to_owned(), filter)));
    }
    // Runtimes did this by themselves, until it could be said (0.5).
    for (key, paths) in [
        ("maskedPaths", template::MASKED_PATHS),
        ("readonlyPaths", template::READONLY_PATHS),
    ] {
        linux.entry(key).or_insert_with(|| json!(paths));
    }
    Ok(linux)
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn is_zero(value: &Value) -> bool {
    is_unset(value) || value.as_f64() == Some(0.0)
}

fn list<'a>(value: &'a mut Value, name: &str) -> Result<&'a mut Vec<Value>, Refusal> {
    let list = value.as_array_mut();
    list.ok_or_else(|| format!("linux.{name}: is not a list"))
}

/// Device nodes. Their type was the number of a character until 0.4; their permissions, where they have some, are a
/// rule of the cgroup's now.
fn nodes(nodes: &mut Value) -> Result<Vec<Value>, Refusal> {
    let mut rules = Vec::new();
    for (n, node) in list(nodes, "devices")?.iter_mut().enumerate() {
        let wrong = || format!("linux.devices[{n}]: is not an object");
        let node = node.as_object_mut().ok_or_else(wrong)?;
        letter(node, &format!("linux.devices[{n}].type"))?;
        node.retain(|_, value| !value.is_null());
        let access = node.shift_remove("permissions").filter(|it| !is_unset(it));
        if let Some(access) = access.or_else(|| is_default(node).then(|| "rwm".into())) {
            let mut rule = json!({ "allow": true, "access": access });
            for key in ["type", "major", "minor"] {
                rule[key] = node.get(key).cloned().unwrap_or(Value::Null);
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// Whether it is one of the devices that every container has (config-linux.md, "Default Devices"). Everybody could use them, listed
/// or not; a runtime of today allows only those that it makes itself, and runc's own configs of then listed them all.
fn is_default(node: &Object) -> bool {
    let numbers = ["major", "minor"].map(|key| node.get(key).and_then(Value::as_u64));
    let [Some(major), Some(minor)] = numbers else {
        return false;
    };
    let defaults = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
    node.get("type").and_then(Value::as_str) == Some("c") && defaults.contains(&(major, minor))
}

fn letter(object: &mut Object, name: &str) -> Result<(), Refusal> {
    let kind = match object.get("type") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Number(number)) => {
            let code = number.as_u64().and_then(|code| u8::try_from(code).ok());
            code.map(|code| char::from(code).to_string())
                .unwrap_or_default()
        }
        Some(Value::String(text)) => text.clone(),
        Some(_) => String::new(),
    };
    if !["a", "b", "c", "u", "p"].contains(&kind.as_str()) {
        return Err(format!("{name}: {} is no kind of device", object["type"]));
    }
    object.insert("type".to_owned(), kind.into());
    Ok(())
}

fn resources(mut resources: Object, mut rules: Vec<Value>) -> Result<Object, Refusal> {
    let mut memory = take(&mut resources, "memory")?;
    memory.retain(|key, value| match key.as_str() {
        "swappiness" => !is_unset(value) && value.as_f64() != Some(-1.0),
        _ => !is_zero(value),
    });
    if let Some(disable) = resources
        .shift_remove("disableOOMKiller")
        .filter(|it| !it.is_null())
    {
        memory.insert("disableOOMKiller".to_owned(), disable);
    }
    let mut cpu = take(&mut resources, "cpu")?;
    cpu.retain(|_, value| !is_zero(value));
    let mut pids = take(&mut resources, "pids")?;
    // None, it said, was 0 or less.
    pids.retain(|_, value| value.as_f64().is_some_and(|limit| limit > 0.0));
    let network = network(take(&mut resources, "network")?)?;
    let block_io = take(&mut resources, "blockIO")?;
    let block_io = block_io.into_iter().filter(|(_, value)| !is_zero(value));
    let block_io: Object = block_io
        .map(|(key, value)| (without_blkio(&key), value))
        .collect();
    resources.retain(|_, value| !is_unset(value));
    for (key, group) in [
        ("memory", memory),
        ("cpu", cpu),
        ("pids", pids),
        ("blockIO", block_io),
        ("network", network),
    ] {
        if !group.is_empty() {
            resources.insert(key.to_owned(), Value::Object(group));
        }
    }

    let mut devices = match resources.shift_remove("devices") {
        Some(mut given) => std::mem::take(list(&mut given, "resources.devices")?),
        None => vec![json!({ "allow": false, "access": "rwm" })],
    };
    for (n, rule) in devices.iter_mut().enumerate() {
        let name = format!("linux.resources.devices[{n}]");
        let rule = rule
            .as_object_mut()
            .ok_or_else(|| format!("{name}: is not an object"))?;
        rule.retain(|_, value| !value.is_null());
        letter(rule, &format!("{name}.type"))?;
    }
    devices.append(&mut rules);
    resources.insert("devices".to_owned(), devices.into());
    Ok(resources)
}

/// `blkioWeight` is `weight` now.
fn without_blkio(key: &str) -> String {
    match key.strip_prefix("blkio") {
        Some(rest) if !rest.is_empty() => {
            let (first, rest) = rest.split_at(1);
            format!("{}{rest}", first.to_lowercase())
        }
        _ => key.to_owned(),
    }
}

/// The class was a text in hexadecimal before 0.3.
fn network(mut network: Object) -> Result<Object, Refusal> {
    network.retain(|_, value| !is_zero(value));
    if let Some(Value::String(class)) = network.get("classID") {
        let wrong = || format!("linux.resources.network.classID: {class:?} is not a number");
        let digits = class.strip_prefix("0x").ok_or_else(wrong)?;
        let number = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        network.insert("classID".to_owned(), number.into());
    }
    Ok(network)
}

fn namespaces(namespaces: &mut Value) -> Result<(), Refusal> {
    const KNOWN: [&str; 7] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"];
    for (n, namespace) in list(namespaces, "namespaces")?.iter_mut().enumerate() {
        let wrong = || format!("linux.namespaces[{n}]: is not an object");
        let namespace = namespace.as_object_mut().ok_or_else(wrong)?;
        namespace.retain(|_, value| !is_unset(value));
        let kind = namespace
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !KNOWN.contains(&kind) {
            return Err(format!(
                "linux.namespaces[{n}].type: {kind:?} is no namespace"
            ));
        }
    }
    Ok(())
}

/// It was always there until 0.4; a filter that allows everything is none.
fn seccomp(filter: Value) -> Result<Option<Value>, Refusal> {
    let Value::Object(mut filter) = filter else {
        return Err("linux.seccomp: is not an object".to_owned());
    };
    filter.retain(|_, value| !is_unset(value));
    let calls = match filter.get_mut("syscalls") {
        Some(calls) => std::mem::take(list(calls, "seccomp.syscalls")?),
        None => Vec::new(),
    };
    let default = filter.get("defaultAction").and_then(Value::as_str);
    if calls.is_empty() && matches!(default, None | Some("SCMP_ACT_ALLOW")) {
        return Ok(None);
    }
    let mut translated = Vec::new();
    for (n, call) in calls.into_iter().enumerate() {
        let wrong = || format!("linux.seccomp.syscalls[{n}]: has no name");
        let Value::Object(mut call) = call else {
            return Err(wrong());
        };
        call.retain(|_, value| !is_unset(value));
        if let Some(name) = call.shift_remove("name") {
            call.shift_insert(0, "names".to_owned(), json!([name]));
        }
        if !call.contains_key("names") {
            return Err(wrong());
        }
        translated.push(Value::Object(call));
    }
    filter.insert("syscalls".to_owned(), translated.into());
    Ok(Some(Value::Object(filter)))
}
