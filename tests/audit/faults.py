"""Faults of one line that once passed every test, and the tests that notice them now."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """*text*, which is in *file* once, becomes *wrong*; then *test* fails."""

    file: str
    text: str
    wrong: str
    test: str


FAULTS = [
    # the pace
    Fault(
        "pi_cam_daemon/ipc/pace.py",
        "_SILENT_PERIODS = 3\n",
        "_SILENT_PERIODS = 1\n",
        "tests/unit/test_pace.py::test_a_freeze_is_noticed_within_a_few_periods",
    ),
    Fault(
        "pi_cam_daemon/ipc/pace.py",
        "if before and (count <= before[0] or at <= before[1]):",
        "if before and count <= before[0]:",
        "tests/unit/test_link.py::test_any_times_of_heartbeats_give_a_rate",
    ),
    Fault(
        "pi_cam_daemon/core/link.py",
        "if captured and self.pace.report(captured, came_at):",
        "if self.pace.report(captured, came_at):",
        "tests/unit/test_link.py::test_progress_is_a_frame_or_a_count_that_grows",
    ),
    # the stream loop
    Fault(
        "pi_cam_daemon/server/audience.py",
        "            self.shown = None\n            self.fresh_at = now\n",
        "            self.shown = None\n",
        "tests/unit/test_streams.py::test_a_camera_has_time_for_a_picture_before_a_new_viewer_gets_the_card",
    ),
    Fault(
        "pi_cam_daemon/server/streams.py",
        "        if not viewer.client.encrypted and self._tls_quota.taken:\n",
        "        if False:\n",
        "tests/unit/test_streams.py::test_viewers_without_encryption_are_served_first",
    ),
    Fault(
        "pi_cam_daemon/server/viewer.py",
        "            if self.due <= now:\n",
        "            if True:\n",
        "tests/unit/test_streams.py::test_a_rate_limit_holds_on_average_for_any_frame_times",
    ),
    # the small stream
    Fault(
        "pi_cam_daemon/server/audience.py",
        "(steady and self.no_signal() is None)",
        "self.no_signal() is None",
        "tests/unit/test_streams.py::test_a_small_picture_from_before_anybody_watched_is_not_shown",
    ),
    Fault(
        "pi_cam_daemon/imaging/shrink.py",
        "                    del self._scaled  # after some broken headers libjpeg-turbo refuses every picture\n",
        "                    pass\n",
        "tests/unit/test_shrink.py::test_a_broken_jpeg_is_refused_in_words_and_the_next_one_is_made",
    ),
    Fault(
        "pi_cam_daemon/imaging/shrink.py",
        "or colours not in _YUV",
        "or colours == 3",
        "tests/unit/test_shrink.py::test_a_jpeg_whose_colours_are_no_yuv_keeps_them",
    ),
    Fault(
        "pi_cam_daemon/core/link.py",
        "        if self.small:\n            self.small.free()\n",
        "",
        "tests/unit/test_link.py::test_the_slots_of_small_frames_that_nobody_took_are_free_again",
    ),
    Fault(
        "pi_cam_daemon/camera/due.py",
        "            if self.at_ns <= now:\n",
        "            if False:\n",
        "tests/server/test_process.py::test_small_frames_are_due_only_while_wanted_and_at_their_rate",
    ),
    # the supervisor
    Fault(
        "pi_cam_daemon/core/supervisor.py",
        "if (not self._wanted(now) and link.first_at) or",
        "if not self._wanted(now) or",
        "tests/unit/test_supervisor.py::test_a_camera_that_nobody_waits_for_any_more_still_gives_its_first_picture",
    ),
    Fault(
        "pi_cam_daemon/core/supervisor.py",
        "            self._info = link.info\n",
        "            self._info = dataclasses.replace(\n"
        '                link.info, reason=link.info.reason or (self._info.reason if self._info else "")\n'
        "            )\n",
        "tests/unit/test_supervisor.py::test_a_camera_that_is_opened_again_tells_its_new_reason_alone",
    ),
    # who may look
    Fault(
        "pi_cam_daemon/server/access.py",
        "_SHORTEST_OWN_PREFIX = 48\n",
        "_SHORTEST_OWN_PREFIX = 33\n",
        "tests/unit/test_access.py::test_the_prefix_of_a_tunnel_to_the_internet_is_not_local",
    ),
    Fault(
        "pi_cam_daemon/server/access.py",
        "_SHORTEST_OWN_PREFIX = 48\n",
        "_SHORTEST_OWN_PREFIX = 49\n",
        "tests/unit/test_access.py::test_the_largest_prefix_that_a_site_gets_is_local",
    ),
    Fault(
        "pi_cam_daemon/server/logins.py",
        "            side.lockouts.check(address)\n            return",
        "            return",
        "tests/unit/test_logins.py::test_of_many_wrong_passwords_at_once_five_are_checked",
    ),
    Fault(
        "pi_cam_daemon/server/logins.py",
        "hmac.compare_digest(self._derive(password, expected.salt), expected.key)",
        "self._derive(password, expected.salt) == expected.key",
        "tests/unit/test_logins.py::test_passwords_are_compared_in_constant_time",
    ),
    # the configuration
    Fault(
        "pi_cam_daemon/config/loading.py",
        '            elif value != {} or not any(name.startswith(f"{key}.") for name in found):\n',
        "            else:\n",
        "tests/unit/test_config.py::test_the_controls_of_a_usb_camera_are_merged_by_name",
    ),
    # cameras
    Fault(
        "pi_cam_daemon/camera/csi.py",
        "            colour_space=libcamera.ColorSpace.Sycc(),\n",
        "",
        "tests/picamera/test_source.py::test_the_stream_has_the_colours_of_a_jpeg_the_buffers_configured_and_nothing_raw",
    ),
    Fault(
        "pi_cam_daemon/camera/csi_controls.py",
        'return {"ScalerCrops": [region] * 2} if "ScalerCrops" in self._limits else {"ScalerCrop": region}',
        'return {"ScalerCrop": region}',
        "tests/unit/test_csi_controls.py::test_two_streams_of_a_pi_5_get_the_same_region_and_a_still_alone_gets_its_own",
    ),
    Fault(
        "pi_cam_daemon/camera/behind.py",
        "        if not self.claim():\n            return\n",
        "",
        "tests/picamera/test_small.py::test_nothing_small_is_copied_or_encoded_while_nobody_asks",
    ),
    *(
        Fault(
            "pi_cam_daemon/camera/csi_picamera2.py",
            '("resource busy", "in use by another process", "did not complete")',
            left,
            f"tests/unit/test_csi.py::{test}",
        )
        for left, test in (
            ('("in use by another process", "did not complete")', "test_an_open_camera_that_fails_reports_the_reason"),
            ('("resource busy", "did not complete")', "test_an_open_camera_that_fails_reports_the_reason"),
            ('("resource busy", "in use by another process")', "test_a_camera_that_does_not_open_reports_the_reason"),
        )
    ),
    Fault(
        "pi_cam_daemon/camera/usb.py",
        "if seconds > _SETTLE_SECONDS and not damaged:",
        "if not damaged:",
        "tests/usb/test_source.py::test_the_source_passes_its_tests_on_fake_v4l2",
    ),
    # the installer
    Fault(
        "scripts/installer/releases.py",
        '                accepts(camera, "check-config", camera)\n',
        "                pass\n",
        "tests/unit/test_installer.py::test_a_release_that_refuses_the_file_of_a_camera_changes_nothing",
    ),
    Fault(
        "scripts/installer/offer.py",
        "    if not downgrade and is_older(artefact.release, current()):",
        "    check_room(artefact.size)\n    if not downgrade and is_older(artefact.release, current()):",
        "tests/unit/test_installer.py::test_an_older_version_is_refused_as_such_even_where_there_is_no_room",
    ),
    Fault(
        "scripts/installer/service.py",
        "            if unit not in before.ailing:\n",
        "            if unit:\n",
        "tests/unit/test_installer.py::test_a_unit_that_did_not_serve_before_is_told_and_blames_no_release",
    ),
    Fault(
        "scripts/installer/soak.py",
        ' or int(state["NRestarts"]) > restarts[unit]:',
        ":",
        "tests/unit/test_installer.py::test_a_release_that_ends_or_loses_its_camera_does_not_last",
    ),
    Fault(
        "pi_cam_daemon/config/loading.py",
        'dropped = [key for key in unknown if f"{section}.{key}" in newer]',
        "dropped = []",
        "tests/unit/test_config.py::test_a_key_that_only_a_newer_release_knows_is_ignored_and_a_typo_is_not",
    ),
    # Wi-Fi
    Fault(
        "pi_cam_daemon/boot/wifi.py",
        '"key-mgmt=wpa-psk"',
        '"key-mgmt=wpa-eap"',
        "tests/unit/test_boot.py::test_wifi_is_handed_to_networkmanager_and_the_password_leaves_the_card",
    ),
    Fault(
        "pi_cam_daemon/boot/wifi.py",
        "|[0-9A-Fa-f]{64}",
        "",
        "tests/unit/test_pi_cam_toml.py::test_a_network_has_32_bytes_and_a_password_63_signs_or_64_digits",
    ),
    Fault(
        "pi_cam_daemon/boot/wifi.py",
        "len(wifi.ssid.encode()) > 32 or ",
        "",
        "tests/unit/test_pi_cam_toml.py::test_a_network_has_32_bytes_and_a_password_63_signs_or_64_digits",
    ),
    # what no test reached
    Fault(
        "pi_cam_daemon/server/listener.py",
        "    if error.errno == errno.EACCES:\n",
        "    if False:\n",
        "tests/unit/test_listener.py::test_the_wrong_setting_is_named_with_what_to_set_instead",
    ),
    Fault(
        "pi_cam_daemon/server/logins.py",
        "            held(self._deriving, _WAIT_SECONDS, *busy),\n",
        "            held(self._deriving, 60.0, *busy),\n",
        "tests/unit/test_logins.py::test_a_login_that_waits_too_long_is_told_to_retry",
    ),
    Fault(
        "pi_cam_daemon/server/stills.py",
        "        elif state is not State.STREAMING:\n",
        "        elif state is State.NO_CAMERA:\n",
        "tests/unit/test_stills.py::test_a_camera_that_is_woken_and_gives_nothing_is_told",
    ),
    Fault(
        "pi_cam_daemon/boot/wifi.py",
        "contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired)",
        "contextlib.suppress(subprocess.TimeoutExpired)",
        "tests/server/test_machine.py::test_the_country_of_a_running_radio_is_set_by_iw_where_that_is_installed",
    ),
    Fault(
        "pi_cam_daemon/server/live_controls.py",
        "            self._change_file(saved.forget, kind)\n",
        "            saved.forget(self._path, kind)\n",
        "tests/server/test_controls.py::test_a_path_that_cannot_be_written_is_named",
    ),
    Fault(
        "pi_cam_daemon/camera/usb.py",
        "        except OSError as error:\n            raise explain(error, camera.path) from error\n",
        "        except BlockingIOError as error:\n            raise explain(error, camera.path) from error\n",
        "tests/usb/test_source.py::test_the_source_passes_its_tests_on_fake_v4l2",
    ),
    Fault(
        "pi_cam_daemon/daemon.py",
        "    return os.EX_SOFTWARE if wakeup == _BUG else os.EX_OK\n",
        "    return os.EX_OK\n",
        "tests/server/test_threads.py::test_a_bug_in_one_of_the_loops_ends_the_daemon",
    ),
    # what documents promise
    Fault(
        "pi_cam_daemon/server/handler.py",
        "            frame = pictures.latest.wait(time.monotonic() - Pace(period).silent_seconds, 0.0)\n",
        "            pass\n",
        "tests/unit/test_snapshot.py::test_a_snapshot_is_a_second_old_at_most_or_three_frames",
    ),
    Fault(
        "pi_cam_daemon/commands/update.py",
        '"verify", *argv, "-I", name)',
        '"verify", *argv, "-I", "publisher")',
        "tests/server/test_update.py::test_a_key_is_changed_by_a_second_line_and_then_without_the_first",
    ),
    Fault(
        "systemd/pi-cam-daemon.service",
        "success | watchdog)",
        "success)",
        "tests/systemd/test_unit.py::test_the_wait_after_failures_grows_to_17_s_and_ends_after_ten_minutes",
    ),
    Fault(
        "tests/bench/measures.py",
        '"memory of the server process, 1 viewer", median(r.resident_mb for r in runs[DAEMON][1]), "MB", 28, 24',
        '"memory of the server process, 1 viewer", median(r.resident_mb for r in runs[DAEMON][1]), "MB"',
        "tests/usb/test_bench.py::test_each_figure_of_the_document_is_missed_if_the_daemon_is_worse",
    ),
    Fault(
        "pi_cam_daemon/server/exchange.py",
        '            headers.pop("WWW-Authenticate", None)\n',
        "            pass\n",
        "tests/server/test_users.py::test_the_401_tells_programs_and_people_what_to_do",
    ),
    Fault(
        "pi_cam_daemon/configuring.py",
        "        app.configure(policy)\n",
        '        app.configure(Policy(**{**vars(policy), "logins": app.policy.logins}))\n',
        "tests/server/test_users.py::test_a_locked_out_client_is_told_how_long_to_wait_and_a_reload_ends_it",
    ),
    *(
        Fault(
            "docs/security.md",
            text,
            wrong,
            "tests/clients/test_security.py::test_nginx_asks_the_internet_for_a_password_and_lets_nobody_in_without",
        )
        for text, wrong in (
            ('allowed_networks = ["0.0.0.0/0", "::/0"]', 'allowed_networks = ["local"]'),
            ('auth_basic "camera"', "auth_basic off"),
        )
    ),
]
