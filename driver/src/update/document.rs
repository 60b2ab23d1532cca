//! Limits as an OCI resources object (runtime-spec, config-linux.md, "Control groups"): read, and written for the runtime.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::resources::{Resources, set};
use crate::error::{Error, Result};

impl Resources {
    /// From an OCI resources object. A key that cannot be updated is refused, rather than passed over as if it could.
    ///
    /// # Errors
    /// [`Error::BadResources`] with line and column; `origin` is named in it.
    pub fn from_json(json: &[u8], origin: &Path) -> Result<Self> {
        let mut from = serde_json::Deserializer::from_slice(json);
        let document = object(&mut from).and_then(|document| from.end().map(|()| document));
        let document: Option<Document> = document.map_err(|e| Error::BadResources {
            origin: origin.to_owned(),
            cause: e.to_string(),
        })?;
        let document = document.unwrap_or_default();
        let cpu = document.cpu.unwrap_or_default();
        let memory = document.memory.unwrap_or_default();
        Ok(Self {
            cpu_shares: cpu.shares,
            cpu_period: cpu.period,
            cpu_quota: cpu.quota,
            cpu_realtime_period: cpu.realtime_period,
            cpu_realtime_runtime: cpu.realtime_runtime,
            cpuset_cpus: cpu.cpus,
            cpuset_mems: cpu.mems,
            blkio_weight: document.block_io.and_then(|block_io| block_io.weight),
            memory: memory.limit,
            memory_reservation: memory.reservation,
            memory_swap: memory.swap,
            kernel_memory: memory.kernel,
            kernel_tcp_memory: memory.kernel_tcp,
            pids_limit: document.pids.and_then(|pids| pids.limit),
        })
    }

    /// As an OCI resources object, without what stays as it is.
    pub(super) fn to_json(&self) -> String {
        let document = Document {
            cpu: Some(CpuDocument {
                shares: set(self.cpu_shares),
                period: set(self.cpu_period),
                quota: set(self.cpu_quota),
                realtime_period: set(self.cpu_realtime_period),
                realtime_runtime: set(self.cpu_realtime_runtime),
                cpus: self.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()),
                mems: self.cpuset_mems.clone().filter(|mems| !mems.is_empty()),
            }),
            memory: Some(MemoryDocument {
                limit: set(self.memory),
                reservation: set(self.memory_reservation),
                swap: set(self.memory_swap),
                kernel: self.kernel_memory(),
                kernel_tcp: self.kernel_tcp_memory(),
            }),
            block_io: Some(BlockIoDocument {
                weight: set(self.blkio_weight),
            }),
            // OCI has the limit required where there is the object.
            pids: set(self.pids_limit).map(|limit| PidsDocument { limit: Some(limit) }),
        };
        // Numbers and strings under keys that are strings: there is nothing that JSON could not say.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// An object or null. A struct of serde's would take a list too, value by value: `[]` for nothing at all.
fn object<'de, D, T>(from: D) -> std::result::Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(
            self,
            map: A,
        ) -> std::result::Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    from.deserialize_any(Object(PhantomData))
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuDocument>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryDocument>,
    #[serde(
        rename = "blockIO",
        deserialize_with = "object",
        skip_serializing_if = "Option::is_none"
    )]
    block_io: Option<BlockIoDocument>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pids: Option<PidsDocument>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct CpuDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    realtime_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    realtime_runtime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mems: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MemoryDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<i64>,
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    kernel_tcp: Option<i64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BlockIoDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PidsDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn read(json: &str) -> Result<Resources> {
        Resources::from_json(json.as_bytes(), Path::new("r.json"))
    }

    /// With every limit there is.
    pub fn all() -> Resources {
        Resources {
            cpu_shares: Some(512),
            cpu_period: Some(50_000),
            cpu_quota: Some(-1),
            cpu_realtime_period: Some(1_000_000),
            cpu_realtime_runtime: Some(950_000),
            cpuset_cpus: Some("0-1,3".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            blkio_weight: Some(1000),
            memory: Some(64 << 20),
            memory_reservation: Some(32 << 20),
            memory_swap: Some(-1),
            kernel_memory: Some(1 << 20),
            kernel_tcp_memory: Some(1 << 21),
            pids_limit: Some(-1),
        }
    }

    #[test]
    fn json_comes_back_as_it_was_and_has_oci_keys() {
        let text = all().to_json();
        assert_eq!(read(&text).unwrap(), all());
        for key in [
            "realtimePeriod",
            "kernelTCP",
            "blockIO",
            "\"cpus\":\"0-1,3\"",
        ] {
            assert!(text.contains(key), "{text}");
        }
    }

    #[test]
    fn what_is_left_out_or_zero_is_left_as_it_is() {
        let bare = r#"{"cpu":{},"memory":{},"blockIO":{}}"#;
        for nothing in [
            "{}",
            "null",
            r#"{"cpu":null,"memory":{"limit":null},"pids":{}}"#,
            // What a containerd 0.2 daemon's Resource is when nobody has set anything.
            r#"{"cpu":{"shares":0,"quota":0,"period":0,"cpus":"","mems":""},"memory":{"limit":0,"swap":0,"reservation":0,
            "kernel":0,"kernelTCP":0},"blockIO":{"weight":0},"pids":{"limit":0}}"#,
        ] {
            let resources = read(nothing).unwrap();
            resources.check().unwrap();
            assert_eq!(resources.to_json(), bare, "{nothing}");
        }
    }

    #[test]
    fn what_cannot_be_understood_or_updated_is_said_and_where() {
        for (json, wanted) in [
            ("", "EOF"),
            ("{", "line 1 column 1"),
            ("[]", "expected an object at line 1 column"),
            (r#"{"memory": [5]}"#, "expected an object"),
            ("{\n\"cpu\": 3}", "line 2 column"),
            (r#"{"devices": []}"#, "`devices`"),
            (r#"{"memory": {"limt": 1}}"#, "`limt`"),
            (r#"{"memory": {"swappiness": 1}}"#, "`swappiness`"),
            (r#"{"memory": {"limit": "1G"}}"#, "\"1G\""),
            (r#"{"memory": {"limit": 1.5}}"#, "1.5"),
            (r#"{"cpu": {"shares": -1}}"#, "-1"),
            (r#"{"blockIO": {"weight": 65546}}"#, "65546"),
            (r#"{"pids": {"limit": 99999999999999999999}}"#, "line 1"),
            ("{} {}", "trailing"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(
                error.starts_with("resources r.json: ") && error.contains(wanted),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
