from vitrail.run.log import Log, read_history, read_log


def test_reopening_forgets_what_came_after(tmp_path):
    with Log(tmp_path) as log:
        for step in range(1, 5):
            log.write({"step": step})
        log.write({"epoch": 1, "step": 4})
        log.write({"step": 5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "los')  # a kill in the middle of a line
    with Log(tmp_path, step=4, epoch=0) as log:
        log.write({"epoch": 1, "step": 4, "again": True})
        log.write({"step": 5})
    assert read_log(tmp_path) == [
        *({"step": step} for step in range(1, 5)),
        {"epoch": 1, "step": 4, "again": True},
        {"step": 5},
    ]
    assert read_history(tmp_path) == [{"epoch": 1, "step": 4, "again": True}]


def test_no_log_yet(tmp_path):
    assert read_log(tmp_path) == []
