"""Each sentence of docs/security.md on what is promised and how it is done has its tests."""

from __future__ import annotations

import re

import pytest

from tests.kit.daemon import ROOT

DOCUMENT = (ROOT / "docs/security.md").read_text("utf-8")

# the beginning of each sentence, and its tests: FILE::TEST below tests/, in the order of the document
TESTS = {
    # what is promised
    "**To those who live with it:** as installed": [
        "server/test_access.py::test_allowed_networks_is_obeyed",
        "unit/test_access.py::test_local_denies",
    ],
    "That is so even": [
        "server/test_access.py::test_allowed_networks_is_obeyed",
        "unit/test_access.py::test_local_denies",
    ],
    "A page on the internet that somebody at home opens": [
        "browser/test_other_sites.py::test_a_foreign_name_that_resolves_to_the_camera_gets_no_picture",
        "browser/test_other_sites.py::test_scripts_of_other_sites_read_nothing_unless_they_are_in_the_list",
        "unit/test_hosts.py::test_only_own_pages_and_listed_origins_may_change_something",
    ],
    "(It can show the picture": ["browser/test_other_sites.py::test_a_picture_may_be_shown_anywhere_but_not_read"],
    "**To those who watch:** a client cannot": [
        "load/test_attacks.py::test_twenty_viewers_do_not_notice_an_attack",
        "load/test_attacks.py::test_peers_that_are_refused_and_talk_without_end",
    ],
    "In the tests 20 viewers": [
        "load/test_attacks.py::test_twenty_viewers_do_not_notice_an_attack",
        "load/test_attacks.py::test_peers_that_are_refused_and_talk_without_end",
    ],
    "**To the owner of the machine:** only the configured port": [
        "server/test_ports.py::test_only_the_configured_port_is_open",
        "usb/test_daemon.py::test_only_the_configured_port_is_open",
    ],
    "The service runs without privileges": [
        "systemd/test_unit.py::test_the_sandbox_holds_from_inside",
        "systemd/test_unit.py::test_the_readme_explains_every_directive",
    ],
    "[systemd/README.md]": [
        "systemd/test_unit.py::test_the_readme_explains_every_directive",
    ],
    "What a stranger sends takes bounded memory": [
        "load/test_attacks.py::test_twenty_viewers_do_not_notice_an_attack",
        "server/test_daemon.py::test_clients_cannot_write_lines_into_the_log",
    ],
    "It is made printable": [
        "server/test_daemon.py::test_clients_cannot_write_lines_into_the_log",
    ],
    "Passwords of an upstream camera are in no log": [
        "upstream/test_daemon.py::test_a_password_is_shown_nowhere",
        "upstream/test_source.py::test_a_password_never_goes_to_another_server",
        "unit/test_redaction.py::test_no_secret_stays",
    ],
    "An https camera needs a certificate": [
        "upstream/test_source.py::test_an_untrusted_certificate_is_reported",
        "upstream/test_source.py::test_a_certificate_with_the_configured_fingerprint_is_accepted",
    ],
    "The password for an MQTT broker": [
        "server/test_mqtt.py::test_a_refused_password_is_named_once_and_a_reload_brings_the_right_one",
        "unit/test_broker.py::test_no_error_has_the_password",
    ],
    # address
    "Each connection is judged by its address": [
        "server/test_access.py::test_a_refused_client_that_stays_delays_nobody",
        "unit/test_access.py::test_loopback_is_allowed_even_by_an_empty_list",
    ],
    "Loopback is always": [
        "unit/test_access.py::test_loopback_is_allowed_even_by_an_empty_list",
    ],
    "So is a client that comes": [
        "server/test_access.py::test_allowed_networks_is_obeyed",
        "unit/test_access.py::test_this_machine_is_served_at_its_own_address_but_no_proxy_on_it",
        "unit/test_access.py::test_the_address_of_another_machine_is_not_this_one",
    ],
    # reload
    "A network that is taken off the list": [
        "server/test_access.py::test_a_network_taken_off_the_list_ends_its_streams_and_no_others",
        "server/test_access.py::test_a_kept_alive_connection_is_checked_at_each_request",
    ],
    "On other open connections": [
        "server/test_access.py::test_a_kept_alive_connection_is_checked_at_each_request",
    ],
    # proxies
    "Headers from other machines never": [
        "server/test_access.py::test_behind_a_trusted_proxy_the_client_is_checked_whatever_it_claims",
        "unit/test_access.py::test_the_client_behind_a_proxy_is_found",
    ],
    "We check the last": [
        "unit/test_access.py::test_the_client_behind_a_proxy_is_found",
    ],
    "Headers that contradict": [
        "unit/test_access.py::test_the_client_behind_a_proxy_is_found",
    ],
    "From this machine itself": [
        "server/test_access.py::test_a_proxy_on_this_machine_is_refused_until_it_is_trusted",
        "server/test_access.py::test_an_unknown_proxy_lets_in_no_forbidden_client",
        "server/test_access.py::test_a_forbidden_client_gains_nothing_by_a_header",
        "unit/test_access.py::test_this_machine_is_served_at_its_own_address_but_no_proxy_on_it",
    ],
    "From other machines, only": [
        "server/test_access.py::test_an_unknown_proxy_lets_in_no_forbidden_client",
        "server/test_access.py::test_a_forbidden_client_gains_nothing_by_a_header",
    ],
    # name
    "`Host` must be an address": [
        "unit/test_hosts.py::test_by_default_ip_addresses_and_own_names_are_served",
        "browser/test_other_sites.py::test_a_foreign_name_that_resolves_to_the_camera_gets_no_picture",
    ],
    "Anything else is refused": [
        "browser/test_other_sites.py::test_a_foreign_name_that_resolves_to_the_camera_gets_no_picture",
    ],
    "Names of the machine itself": [
        "unit/test_hosts.py::test_by_default_ip_addresses_and_own_names_are_served",
    ],
    "`.fritz.box` also exists": ["unit/test_hosts.py::test_a_router_s_public_domain_counts_for_the_own_networks_alone"],
    "Two `Host` fields are refused": ["server/test_requests.py::test_each_request_gets_its_status"],
    "A request without one is served": ["unit/test_hosts.py::test_a_request_without_a_host_is_served"],
    # users
    "With `users_file` everything but": [
        "server/test_users.py::test_all_but_health_needs_a_user_and_every_change_an_admin"
    ],
    "On the Pi itself": [
        "server/test_users.py::test_all_but_health_needs_a_user_and_every_change_an_admin",
    ],
    "Passwords are kept as scrypt hashes": [
        "unit/test_users.py::test_the_hash_is_standard_scrypt",
        "unit/test_logins.py::test_passwords_are_compared_in_constant_time",
    ],
    "Unknown names cost": ["unit/test_logins.py::test_an_unknown_name_costs_as_much_as_a_wrong_password"],
    "An address may send five": [
        "unit/test_logins.py::test_only_the_fifth_different_wrong_password_locks_out",
        "unit/test_logins.py::test_of_many_wrong_passwords_at_once_five_are_checked",
    ],
    "The fifth locks it out": [
        "unit/test_logins.py::test_the_lockout_doubles_from_the_fifth_failure_and_ends_after_an_hour"
    ],
    "During a lock-out the right password": [
        "unit/test_logins.py::test_a_guessing_client_is_locked_out_and_learns_nothing",
        "server/test_users.py::test_a_locked_out_client_is_told_how_long_to_wait_and_a_reload_ends_it",
    ],
    "The same wrong password again": [
        "unit/test_logins.py::test_a_repeated_old_password_is_derived_once_and_locks_nobody_out"
    ],
    "A request with `X-Requested-With`": ["server/test_users.py::test_the_401_tells_programs_and_people_what_to_do"],
    "So no browser opens": [
        "server/test_users.py::test_the_401_tells_programs_and_people_what_to_do",
    ],
    "Outside your own networks, all IPv6 addresses": [
        "unit/test_logins.py::test_lockouts_count_by_address_at_home_and_by_64_outside"
    ],
    "In your own networks each address": [
        "unit/test_logins.py::test_lockouts_count_by_address_at_home_and_by_64_outside",
    ],
    "Guesses from outside and from your own": [
        "unit/test_logins.py::test_a_scanner_outside_changes_nothing_for_an_old_password_at_home",
        "unit/test_logins.py::test_many_scanners_outside_keep_nobody_at_home_waiting",
    ],
    "The count ends after": [
        "unit/test_logins.py::test_the_lockout_doubles_from_the_fifth_failure_and_ends_after_an_hour",
        "server/test_users.py::test_a_locked_out_client_is_told_how_long_to_wait_and_a_reload_ends_it",
    ],
    "A reload ends the streams of users": [
        "server/test_users.py::test_a_reload_ends_only_the_streams_of_removed_and_changed_users"
    ],
    # encryption
    "With `tls_certificate` and `tls_key`": [
        "server/test_tls.py::test_nothing_older_than_tls_1_2_and_no_weak_suite_is_agreed_on",
        "server/test_tls.py::test_plain_http_gets_a_message_and_other_protocols_an_alert",
    ],
    "Plain HTTP is served": [
        "server/test_tls.py::test_plain_http_gets_a_message_and_other_protocols_an_alert",
    ],
    "Handshakes have `request_timeout_seconds`": [
        "server/test_tls.py::test_a_handshake_that_stalls_is_given_up_in_time",
        "server/test_tls.py::test_two_hundred_stalled_handshakes_disturb_no_viewer",
    ],
    # MQTT
    "It is off unless `mqtt.host` is set": [
        "server/test_imports.py::test_the_server_loads_nothing_heavy_before_it_serves",
        "server/test_mqtt.py::test_a_reload_turns_it_on_and_off_and_home_assistant_keeps_the_device",
    ],
    "The camera connects to the broker, so no port": [
        "server/test_ports.py::test_only_the_configured_port_is_open",
    ],
    "With `mqtt.tls` the broker needs": [
        "server/test_mqtt.py::test_tls_needs_a_certificate_that_is_trusted",
    ],
    "A command is checked like a request": [
        "server/test_mqtt.py::test_a_control_is_set_and_a_refused_value_is_answered_by_the_old_one",
    ],
    "Commands that the broker has kept": [
        "server/test_mqtt.py::test_a_command_that_the_broker_has_kept_is_not_obeyed",
    ],
    # changes
    "Nothing changes on GET": [
        "server/test_controls.py::test_get_changes_nothing_and_allow_lists_the_methods",
        "server/test_settings.py::test_every_wrong_setting_is_named_and_nothing_is_saved",
        "server/test_settings.py::test_only_json_of_the_own_page_saves_anything",
        "unit/test_hosts.py::test_only_own_pages_and_listed_origins_may_change_something",
    ],
    "`POST` changes controls": [
        "server/test_settings.py::test_every_wrong_setting_is_named_and_nothing_is_saved",
    ],
    "A change that comes": [
        "server/test_settings.py::test_only_json_of_the_own_page_saves_anything",
        "unit/test_hosts.py::test_only_own_pages_and_listed_origins_may_change_something",
    ],
    "A trusted proxy that replaces `Host`": [
        "unit/test_hosts.py::test_a_trusted_proxy_names_the_host_of_the_page",
        "unit/test_hosts.py::test_a_trusted_proxy_names_the_port_apart",
    ],
    "That counts only": [
        "unit/test_hosts.py::test_a_trusted_proxy_names_the_host_of_the_page",
    ],
    "`/still.jpg` interrupts": [
        "unit/test_hosts.py::test_a_foreign_page_gets_no_still_unless_its_origin_is_listed",
        "server/test_stills.py::test_a_page_of_another_site_takes_no_still",
    ],
    "Over plain HTTP browsers do not say": [
        "server/test_stills.py::test_stills_are_taken_one_at_a_time_with_a_pause_between"
    ],
    "There the pause": [
        "server/test_stills.py::test_stills_are_taken_one_at_a_time_with_a_pause_between",
    ],
    # reading
    "Pages of other sites get no CORS header": [
        "unit/test_hosts.py::test_without_a_list_no_cors_header_is_sent",
        "browser/test_other_sites.py::test_a_picture_may_be_shown_anywhere_but_not_read",
    ],
    "Those of `cors_origins` may read": [
        "server/test_requests.py::test_only_listed_origins_may_read",
        "unit/test_hosts.py::test_any_page_may_ask_but_only_listed_origins_may_read",
    ],
    # events
    "`/events` and the pictures in it": [
        "server/test_events.py::test_events_need_a_password_like_pictures",
        "server/test_events.py::test_events_are_for_the_same_hosts_as_pictures",
    ],
    "A reload ends the event streams": [
        "server/test_events.py::test_a_reload_that_no_longer_admits_a_client_ends_its_events",
        "server/test_events.py::test_events_need_a_password_like_pictures",
    ],
    "A webhook goes only": ["server/test_events.py::test_a_receiver_that_redirects_or_refuses_gets_an_event_once"],
    "An https address needs": ["server/test_events.py::test_a_receiver_with_another_certificate_gets_nothing"],
    "The body is signed": ["server/test_events.py::test_begin_and_end_are_posted_with_a_signature_over_https"],
    "Secret and address are in no": [
        "server/test_events.py::test_begin_and_end_are_posted_with_a_signature_over_https",
        "server/test_events.py::test_the_address_of_a_webhook_is_shown_nowhere",
    ],
    # framing
    "No other site may show": [
        "browser/test_other_sites.py::test_the_page_is_framed_only_by_sites_in_the_list",
        "server/test_requests.py::test_the_page_loads_only_its_own_files_and_listed_origins_frame_it",
    ],
    "The page runs only": [
        "server/test_requests.py::test_the_page_loads_only_its_own_files_and_listed_origins_frame_it",
    ],
    "Only `/wall` loads": ["browser/test_wall.py::test_only_the_wall_may_load_from_other_cameras_and_only_listed_ones"],
    # syntax
    "Requests are read strictly": [
        "unit/test_request.py::test_an_invalid_request_is_refused",
        "unit/test_request.py::test_unreadable_bodies_are_refused",
    ],
    "These are errors": [
        "unit/test_request.py::test_an_invalid_request_is_refused",
        "unit/test_request.py::test_unreadable_bodies_are_refused",
    ],
    "`100 Continue` is sent only": [
        "server/test_requests.py::test_a_client_that_may_ask_gets_100_continue",
        "server/test_requests.py::test_a_client_that_may_not_ask_gets_no_100_continue",
    ],
    # cost
    "A request costs about as much": [
        "unit/test_request_cost.py::test_no_header_costs_more_than_its_length",
        "unit/test_request_cost.py::test_refusing_controls_costs_little_more_than_reading_json",
        "unit/test_request_cost.py::test_any_body_is_accepted_or_refused_in_words_within_5_ms",
    ],
    "Names and values": [
        "unit/test_request_cost.py::test_refusing_controls_costs_little_more_than_reading_json",
    ],
    "Only the first mistakes": [
        "unit/test_request_cost.py::test_refusing_controls_costs_little_more_than_reading_json",
    ],
    # slow clients
    "A slow client gets its whole picture": [
        "unit/test_sending.py::test_a_client_that_takes_longer_than_the_timeout_gets_all",
        "unit/test_sending.py::test_a_client_that_drips_is_given_up",
        "unit/test_streams.py::test_a_stalled_viewer_is_dropped_after_the_timeout_but_not_a_slow_one",
        "unit/test_streams.py::test_a_viewer_that_drips_is_dropped",
    ],
    "After that time it": [
        "unit/test_sending.py::test_a_client_that_drips_is_given_up",
        "unit/test_streams.py::test_a_viewer_that_drips_is_dropped",
    ],
    "So nobody holds a connection for ever": ["unit/test_request.py::test_a_slow_request_has_one_deadline"],
    "A request has": [
        "unit/test_request.py::test_a_slow_request_has_one_deadline",
    ],
    "Clients that get the same picture share": ["unit/test_streams.py::test_viewers_of_the_same_picture_keep_one_copy"],
    "When pictures of more than `max_pending_bytes`": [
        "unit/test_streams.py::test_slow_viewers_keep_no_more_pictures_than_allowed",
        "unit/test_streams.py::test_the_slowest_viewer_goes_first_and_not_the_oldest",
    ],
    "`pi_cam_slow_clients_dropped_total` in": [
        "server/test_metrics.py::test_metric_names_and_labels_are_stable",
        "unit/test_streams.py::test_a_stalled_viewer_is_dropped_after_the_timeout_but_not_a_slow_one",
        "unit/test_streams.py::test_slow_viewers_keep_no_more_pictures_than_allowed",
    ],
    "When slow clients leave": ["load/test_attacks.py::test_slow_readers_of_large_pictures"],
    # limits
    "Connections, viewers, the bytes of line": [
        "server/test_requests.py::test_limits_are_configurable",
        "server/test_requests.py::test_connections_of_one_address_are_limited",
        "server/test_requests.py::test_an_incomplete_request_is_answered_after_the_timeout",
        "server/test_viewers.py::test_a_viewer_over_the_limit_is_refused",
        "server/test_viewers.py::test_a_connection_over_the_limit_is_refused",
    ],
    "Each limit is a key": [
        "server/test_requests.py::test_limits_are_configurable",
        "server/test_requests.py::test_each_request_gets_its_status",
    ],
    "If somebody is just hanging up": [
        "unit/test_limits.py::test_the_place_of_one_that_leaves_is_waited_for",
        "server/test_viewers.py::test_connections_that_are_made_again_find_their_places_free",
    ],
    "Otherwise a refusal": [
        "server/test_viewers.py::test_a_viewer_over_the_limit_is_refused",
    ],
    # refusals
    "They say what to add": [
        "unit/test_access.py::test_the_suggested_line_is_valid_configuration",
        "unit/test_hosts.py::test_a_refusal_shows_the_line_to_add_and_nothing_harmful_to_paste",
    ],
    "They show the present list only": [
        "server/test_access.py::test_the_line_to_add_keeps_the_list_and_only_the_log_shows_it"
    ],
    "The log names the setting": [
        "unit/test_counts.py::test_each_refusal_in_the_log_names_its_setting_once",
        "unit/test_counts.py::test_a_refusal_that_a_setting_prevents_has_the_whole_line",
    ],
    "If a line in the": [
        "unit/test_counts.py::test_a_refusal_that_a_setting_prevents_has_the_whole_line",
    ],
    "To a browser the answer is a page": [
        "browser/test_refusals.py::test_a_wrong_name_is_printed_as_text_whatever_is_in_it"
    ],
    "Refusals are logged once a minute": [
        "server/test_access.py::test_refusals_are_logged_once_a_minute_for_each_address_and_counted_always",
        "unit/test_counts.py::test_one_host_with_many_addresses_gets_few_lines_in_the_log",
    ],
    "No thread waits for the reader of the log": [
        "server/test_logs.py::test_a_log_that_nobody_reads_blocks_nobody_and_tells_what_it_dropped"
    ],
    "What the reader does": [
        "server/test_logs.py::test_a_log_that_nobody_reads_blocks_nobody_and_tells_what_it_dropped",
    ],
    # files: both commands write through commands/output.py
    "What `snapshot` and `support-bundle` write": ["server/test_cli.py::test_only_its_owner_can_read_a_new_picture"],
    "They follow no symbolic link": [
        "server/test_cli.py::test_snapshot_does_not_follow_a_link_that_somebody_put_there",
        "server/test_cli.py::test_root_writes_nothing_into_a_pipe_of_somebody_else",
    ],
    # masks
    "What `video.masks` cover": [
        "server/test_masks.py::test_pictures_have_their_masks_at_every_address",
        "picamera/test_masks.py::test_the_stream_the_small_stream_and_a_still_are_masked",
        "unit/test_masks.py::test_nothing_below_a_mask_leaves_a_trace_in_a_jpeg",
        "unit/test_masks.py::test_no_picture_of_a_usb_camera_passes_through_unmasked",
    ],
    "So no stream, snapshot or photo has it": [
        "server/test_masks.py::test_pictures_have_their_masks_at_every_address",
    ],
    "A pixel that is covered in part": [
        "unit/test_masks.py::test_a_box_is_its_rectangle_rounded_outwards_to_whole_units",
        "unit/test_masks.py::test_what_is_black_before_a_turn_covers_each_pixel_after_it",
        "unit/test_masks.py::test_no_pixel_of_a_mask_keeps_brightness_or_colour_in_planes",
    ],
    "A picture that cannot be masked": [
        "unit/test_masks.py::test_a_picture_that_cannot_be_masked_is_an_error",
        "unit/test_masks.py::test_a_failure_while_blocks_are_blackened_gives_no_picture",
        "picamera/test_masks.py::test_masks_that_cannot_be_drawn_end_the_pictures",
    ],
    "When masks change": [
        "server/test_masks.py::test_no_picture_of_before_is_shown_once_masks_are_set",
        "unit/test_streams.py::test_pictures_of_before_are_forgotten_and_those_on_their_way_are_not_shown",
        "unit/test_stills.py::test_a_still_with_other_masks_is_given_to_nobody",
    ],
    # the recorder
    "A Unix socket in the runtime directory": [
        "server/test_recorder.py::test_with_users_and_tls_the_recorder_needs_no_password"
    ],
    "Only the service's own user": ["server/test_recorder.py::test_with_users_and_tls_the_recorder_needs_no_password"],
    "It answers what only reads": ["server/test_recorder.py::test_with_users_and_tls_the_recorder_needs_no_password"],
    # recordings
    "They follow networks, hosts and users": [
        "server/test_recordings.py::test_recordings_ask_for_a_password_and_only_an_admin_deletes",
        "server/test_recordings.py::test_who_may_no_longer_watch_loses_the_clip_too",
        "server/test_recordings.py::test_a_form_of_another_site_deletes_nothing",
    ],
    "A request names a clip by the name": [
        "server/test_recordings.py::test_no_path_leads_out_of_the_folder",
        "server/test_recordings.py::test_only_a_clip_is_deleted",
        "server/test_recordings.py::test_only_files_with_the_name_of_a_clip_are_listed_and_sent",
    ],
    "At most four threads wait for a disk": [
        "server/test_recordings.py::test_a_folder_that_hangs_costs_only_the_requests_for_it"
    ],
    # copies on another machine
    "The login is in a file": ["server/test_push.py::test_the_login_is_in_the_file_and_nowhere_else"],
    "A host by SFTP gets nothing": [
        "server/test_push.py::test_a_host_that_is_not_known_gets_nothing",
        "clients/test_push.py::test_a_host_with_another_key_gets_nothing",
        "clients/test_push.py::test_a_host_that_is_not_in_the_file_gets_nothing",
    ],
    "A certificate that this machine does not trust": [
        "server/test_push.py::test_a_certificate_that_nobody_signed_gets_nothing"
    ],
    # texts
    "What an upstream server or a camera says": [
        "unit/test_link.py::test_no_text_of_the_camera_process_controls_a_terminal",
        "unit/test_link.py::test_a_refusal_of_a_still_cannot_control_a_terminal",
    ],
}


def sentences() -> list[str]:
    """Return those of the sections on what is promised and on how it is done, without the names of paragraphs."""
    promised, done = (DOCUMENT.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in
                      ("What is promised", "How it is done"))  # fmt: skip
    found = []
    for text in (promised, re.sub(r"^\*\*[\w ]+\.\*\* ", "", done, flags=re.MULTILINE)):
        for paragraph in text.strip().split("\n\n"):
            found += re.split(r"(?<=\.)\)? (?=[A-Z(`[])", " ".join(paragraph.split()))
    return found


def test_the_list_has_every_sentence_in_the_order_of_the_document() -> None:
    told = sentences()
    assert [sentence for sentence in told if not sentence.startswith(tuple(TESTS))] == [], "without a test"
    assert [begin for begin in TESTS if sum(sentence.startswith(begin) for sentence in told) != 1] == []
    order = [next(begin for begin in TESTS if sentence.startswith(begin)) for sentence in told]
    assert order == list(TESTS)


@pytest.mark.parametrize("begin", TESTS)
def test_the_tests_of_a_sentence_exist(begin: str) -> None:
    for test in TESTS[begin]:
        file, _, name = test.partition("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), test
