//! A config.json of runtime-spec 0.3 to 1.0.0-rc as one of 1.0.2, key by key. What means the same stays as it is, also keys that
//! nobody here knows; what is moved, renamed or spelled differently is translated; and what cannot be is refused, by its name.

use serde_json::{Map, Value, json};

use super::{Spec, linux};
use crate::template::OCI_VERSION;

/// Why a config.json is not translated: a key, and what is the matter with it.
pub(super) type Refusal = String;

type Object = Map<String, Value>;

/// Translates; returns the result and the version it came from.
pub(super) fn config(mut config: Object) -> Result<(Object, String), Refusal> {
    let version = match config.get("ociVersion") {
        Some(Value::String(version)) => version.clone(),
        None if config.contains_key("version") => {
            return Err("is older than OCI 0.3, which had it in two files".to_owned());
        }
        _ => return Err("ociVersion: is missing".to_owned()),
    };
    accept(&version)?;
    // The types of then say what must be there, and of which kind.
    let spec: Spec = serde_json::from_value(Value::Object(config.clone()))
        .map_err(|e| e.to_string().replace('`', "\""))?;
    platform(&spec)?;
    config.insert("ociVersion".to_owned(), OCI_VERSION.into());
    config.shift_remove("platform");

    let mut of_linux = linux::take(&mut config, "linux")?;
    let process = process(&spec, &mut config, &mut of_linux)?;
    config.insert("process".to_owned(), process);
    if spec.root.path.is_empty() {
        return Err("root.path: is empty".to_owned());
    }
    let mounts: Vec<_> = spec.mounts.iter().map(mount).collect::<Result<_, _>>()?;
    config.insert("mounts".to_owned(), mounts.into());
    hooks(&spec, &mut config)?;
    config.insert(
        "linux".to_owned(),
        Value::Object(linux::translate(of_linux)?),
    );
    Ok((config, version))
}

/// The string lists of capabilities, by which one is known, were given up with 1.0.0-rc6.
fn accept(version: &str) -> Result<(), Refusal> {
    let mut numbers = version.splitn(3, '.');
    let mut number = || numbers.next()?.parse::<u32>().ok();
    match (number(), number(), version.starts_with("1.0.0-rc")) {
        (Some(0), Some(0..=2), _) => Err(format!(
            "ociVersion: {version} is older than 0.3, which had it in two files"
        )),
        (Some(0), Some(_), _) | (_, _, true) => Ok(()),
        (Some(_), Some(_), false) => Err(format!(
            "ociVersion: {version} needs no upgrade; a runtime of today reads it"
        )),
        _ => Err(format!("ociVersion: {version:?} is not a version")),
    }
}

fn platform(spec: &Spec) -> Result<(), Refusal> {
    match spec.platform.os.as_str() {
        "" | "linux" => Ok(()),
        os => Err(format!("platform.os: {os:?} is not linux")),
    }
}

/// Capabilities, limits and labels stood in `linux` until 0.4.
fn process(spec: &Spec, config: &mut Object, of_linux: &mut Object) -> Result<Value, Refusal> {
    let mut process = linux::take(config, "process")?;
    if spec.process.args.is_empty() {
        return Err("process.args: is empty".to_owned());
    }
    process.insert("cwd".to_owned(), absolute(&spec.process.cwd).into());
    let mut user = linux::take(&mut process, "user")?;
    user.entry("uid").or_insert(0.into());
    user.entry("gid").or_insert(0.into());
    process.insert("user".to_owned(), Value::Object(user));

    for (old, new) in [
        ("capabilities", "capabilities"),
        ("rlimits", "rlimits"),
        ("noNewPrivileges", "noNewPrivileges"),
        ("apparmorProfile", "apparmorProfile"),
        ("selinuxProcessLabel", "selinuxLabel"),
    ] {
        let moved = of_linux.shift_remove(old);
        let own = process.shift_remove(old);
        match own.or(moved) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(value) => {
                process.insert(new.to_owned(), value);
            }
        }
    }
    // From 1.0.0-rc6 on it is an object of lists already.
    if let Some(list) = process.get_mut("capabilities").filter(|it| !it.is_object()) {
        *list = capabilities(list)?;
    }
    if let Some(limits) = process.get("rlimits") {
        rlimits(limits)?;
    }
    if let Some(Value::Object(resources)) = of_linux.get_mut("resources") {
        match resources.shift_remove("oomScoreAdj") {
            None | Some(Value::Null) => {}
            Some(score) => {
                process.insert("oomScoreAdj".to_owned(), score);
            }
        }
    }
    process.retain(|_, value| !value.is_null());
    Ok(Value::Object(process))
}

/// One list was the bounding, the permitted, the effective and the inheritable set. The last is left out, as runtimes do since
/// CVE-2022-29162: it is of use to nothing but files with inheritable capabilities, which then get them for everybody.
fn capabilities(list: &Value) -> Result<Value, Refusal> {
    let wrong = || "process.capabilities: is not a list of names".to_owned();
    let names = list.as_array().ok_or_else(wrong)?;
    let names = names.iter().map(|name| {
        let name = name.as_str().ok_or_else(wrong)?.to_uppercase();
        Ok(match name.starts_with("CAP_") {
            true => name,
            false => format!("CAP_{name}"),
        })
    });
    let names: Vec<String> = names.collect::<Result<_, Refusal>>()?;
    Ok(json!({ "bounding": names, "effective": names, "permitted": names }))
}

fn rlimits(limits: &Value) -> Result<(), Refusal> {
    let limits = limits.as_array().ok_or("process.rlimits: is not a list")?;
    for (n, limit) in limits.iter().enumerate() {
        if !limit["type"]
            .as_str()
            .is_some_and(|name| name.starts_with("RLIMIT_"))
        {
            let kind = &limit["type"];
            return Err(format!(
                "rlimits[{n}].type: {kind} is not a name like RLIMIT_NOFILE"
            ));
        }
    }
    Ok(())
}

/// Paths were relative to the container's root, and are absolute in it.
fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

fn mount(mount: &super::Mount) -> Result<Value, Refusal> {
    if mount.destination.is_empty() {
        return Err("mounts: one has no destination".to_owned());
    }
    let mut options = mount.options.clone();
    let binds = |option: &String| option == "bind" || option == "rbind";
    // A runtime of today takes the option for the word, not the type.
    if mount.kind == "bind" && !options.iter().any(binds) {
        options.insert(0, "bind".to_owned());
    }
    let mut mounted = json!({
        "destination": absolute(&mount.destination), "type": mount.kind, "source": mount.source,
    });
    if !options.is_empty() {
        mounted["options"] = options.into();
    }
    Ok(mounted)
}

/// They are run as they were, but on stdin they find the state as it is called now.
fn hooks(spec: &Spec, config: &mut Object) -> Result<(), Refusal> {
    let hooks = &spec.hooks;
    for (moment, hooks) in [
        ("prestart", &hooks.prestart),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for (n, hook) in hooks.iter().enumerate() {
            if !hook.path.starts_with('/') {
                let path = &hook.path;
                return Err(format!(
                    "hooks.{moment}[{n}].path: {path:?} is not absolute"
                ));
            }
        }
    }
    match config.get_mut("hooks") {
        Some(Value::Object(hooks)) if !hooks.is_empty() => {
            hooks.retain(|_, value| !value.is_null());
        }
        _ => {
            config.shift_remove("hooks");
        }
    }
    Ok(())
}
