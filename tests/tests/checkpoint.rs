//! A container that is to come from a checkpoint: the runtime is asked to `restore` it, in the words that containerd 0.2's
//! shim uses. That a real checkpoint can be made and restored is not shown here: it takes CRIU.

use std::fs;

use holdfast::{ContainerId, CreateOptions, Source};
use holdfast_tests::{DEADLINE, FakeRuntime, Sandbox};

#[test]
fn the_runtime_restores_what_the_checkpoint_says() {
    let sandbox = Sandbox::new("checkpoint");
    let checkpoint = sandbox.path().join("first");
    fs::create_dir(&checkpoint).unwrap();
    let config = r#"{"created":"2026-01-02T03:04:05Z","name":"first","tcp":true,"unixSockets":true,"shell":true,"exit":true,"emptyNS":["network"]}"#;
    fs::write(checkpoint.join("config.json"), config).unwrap();
    let fake = FakeRuntime::script(
        &sandbox,
        "[ $VERB = restore ] && spawn sh -c 'read x; exit 4'",
    );
    let driver = sandbox
        .driver_builder()
        .runtime(fake.arg())
        .build()
        .unwrap();
    let options = CreateOptions {
        checkpoint: Some(checkpoint.clone()),
        ..CreateOptions::default()
    };
    let id = ContainerId::new(sandbox.id("back")).unwrap();
    let bundle = sandbox.bundle(["true"]);

    let container = driver.create(&id, bundle.dir(), &options).unwrap();

    let init = container.init().unwrap();
    init.close_stdin().unwrap();
    let record = init.wait(Some(DEADLINE)).unwrap();
    assert_eq!((record.status.number(), record.source), (4, Source::Reaped));
    let argv = fake.argv("restore").expect("nothing was restored");
    let of = |option: &str| {
        let at = argv.iter().position(|word| word == option);
        at.map(|at| argv[at + 1].clone())
    };
    let image = checkpoint.to_str().unwrap();
    assert_eq!(of("--image-path").as_deref(), Some(image), "{argv:?}");
    assert_eq!(of("--bundle").as_deref(), Some(bundle.arg()), "{argv:?}");
    assert_eq!(of("--empty-ns").as_deref(), Some("network"), "{argv:?}");
    let work = format!("{image}/criu.work/restore-");
    assert!(of("--work-path").is_some_and(|path| path.starts_with(&work)));
    for flag in ["-d", "--shell-job", "--tcp-established", "--ext-unix-sk"] {
        assert!(argv.iter().any(|word| word == flag), "{flag}: {argv:?}");
    }
    assert_eq!(argv.last().map(String::as_str), Some(id.as_str()));
    // Only `created` waits for a `start`.
    assert!(
        !sandbox
            .process_dir(id.as_str(), "init")
            .join("created")
            .exists()
    );
    container.delete(false).unwrap();
    sandbox.assert_clean();
}
