"""Look at a host with a camera, install a release, let it serve, verify it, and go back."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pi_cam.daemon.plugins.module_utils import host, steps

DOCUMENTATION = """
module: host
short_description: A step of the role pi_cam_daemon on a host
description:
  - Does what would be many tasks of the role, and reads what runs from the installed release's
    C(install --status --json).
options:
  command:
    description: >-
      C(look) tells what is installed and runs, and if the controller may look. C(install) runs the artefact's
      installer. C(serve) reloads or restarts what does not run as configured, and verifies. C(verify) waits until all
      cameras serve. C(record) keeps what is deployed as the state to go back to. C(restore) goes back to it.
    type: str
    required: true
    choices: [look, install, serve, verify, record, restore]
  apt: {description: Whether the installer may use apt., type: bool, default: true}
  artefact: {description: For C(install) its path on the host; else its SHA-256., type: str, default: ""}
  configuration: {description: The main configuration that is wanted., type: str, default: ""}
  drift: {description: C(allow) lets conf.d override settings of the role., type: str, default: refuse}
  expected: {description: The release that C(verify) has to find; empty for any., type: str, default: ""}
  gave: {description: The cameras that gave pictures before, by unit., type: dict, default: {}}
  names: {description: The files that C(restore) goes back to., type: list, elements: str, default: []}
  networks: {description: The networks that may look., type: list, elements: str, default: []}
  record: {description: Whether C(serve) records what serves., type: bool, default: false}
  release: {description: The release that C(restore) goes back to., type: str, default: ""}
  restarts: {description: How often each unit had ended by itself before., type: dict, default: {}}
  seconds: {description: How long cameras may take to serve., type: int, default: 90}
  soak: {description: How long the installer watches a release afterwards; 0 for not at all., type: int, default: 60}
  switches: {description: What the host has for all its cameras, C(keep) as it is., type: dict, default: {}}
author: [the authors of pi_cam_daemon (@pi_cam)]
"""

EXAMPLES = """
- name: See that every camera serves
  pi_cam.daemon.host:
    command: verify
"""

RETURN = """
release: {description: The installed release., type: str, returned: look and verify}
problem: {description: What is wrong, type: str, returned: serve and verify}
cameras: {description: The state of each camera by its unit, type: dict, returned: serve and verify}
"""


def main() -> None:
    """Run the command, in which Ansible's check mode changes nothing."""
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "str", "required": True, "choices": list(steps.COMMANDS)},
            "apt": {"type": "bool", "default": True},
            "artefact": {"type": "str", "default": ""},
            # settings may bear passwords
            "configuration": {"type": "str", "default": "", "no_log": True},
            "drift": {"type": "str", "default": "refuse"},
            "expected": {"type": "str", "default": ""},
            "gave": {"type": "dict", "default": {}},
            "names": {"type": "list", "elements": "str", "default": []},
            "networks": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "bool", "default": False},
            "release": {"type": "str", "default": ""},
            "restarts": {"type": "dict", "default": {}},
            "seconds": {"type": "int", "default": 90},
            "soak": {"type": "int", "default": 60},
            "switches": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        with host.alone():
            done = steps.COMMANDS[module.params["command"]]({**module.params, "dry": module.check_mode})
    except (host.Failed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
