"""``skewguard completion``: a script that completes the command in a shell, made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from skewguard.cli.output import write
from skewguard.cli.parser import Command, Option, describe


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    parser.epilog = (
        'In bash: eval "$(skewguard completion bash)" in ~/.bashrc. In zsh: skewguard completion zsh > _skewguard, in '
        "a directory of fpath. In fish: skewguard completion fish > ~/.config/fish/completions/skewguard.fish."
    )


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    write({"bash": bash, "zsh": zsh, "fish": fish}[options.shell](describe()))
    return 0


def bash(commands: Sequence[Command]) -> str:
    """Return the script for bash."""
    names = " ".join(command.name for command in commands)
    cases, values = [], []
    for command in commands:
        words = [name for option in command.options for name in (option.names or option.choices)]
        cases.append(f"        {command.name}) words='{' '.join(words)}' ;;")
        for option in command.options:
            if option.names and option.choices:
                pattern = "|".join(f"{command.name}:{name}" for name in option.names)
                values.append(f"        {pattern}) words='{' '.join(option.choices)}' ;;")
    return "\n".join(
        [
            "_skewguard() {",
            "    local current=${COMP_WORDS[COMP_CWORD]} command= words= i",
            "    for ((i = 1; i < COMP_CWORD; i++)); do",
            f"        case ${{COMP_WORDS[i]}} in {names.replace(' ', '|')}) command=${{COMP_WORDS[i]}}; break ;; esac",
            "    done",
            "    case $command in",
            f"        '') words='{names} --help --version' ;;",
            *cases,
            "    esac",
            "    case $command:${COMP_WORDS[COMP_CWORD - 1]} in",
            *values,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o bashdefault -o default -F _skewguard skewguard",
        ]
    )


def zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh: a function to be loaded."""
    listed = [f"        {_quoted(f'{command.name}:{_colons(command.help)}')}" for command in commands]
    cases = []
    for command in commands:
        arguments = [f"            {_quoted(spec)}" for option in command.options for spec in _zsh(option)]
        rest = "            '*::command:_normal'" if command.name == "exec" else ""
        cases += [
            f"    {command.name})",
            "        _arguments -s \\",
            " \\\n".join(filter(None, [*arguments, rest])),
            "        ;;",
        ]
    return "\n".join(
        [
            "#compdef skewguard",
            "_skewguard() {",
            "    local -a commands",
            "    commands=(",
            *listed,
            "    )",
            "    if ((CURRENT == 2)); then",
            "        _describe command commands",
            "        return",
            "    fi",
            "    local command=$words[2]",
            "    shift words",
            "    ((CURRENT--))",
            "    case $command in",
            *cases,
            "    esac",
            "}",
            '_skewguard "$@"',
        ]
    )


def _zsh(option: Option) -> list[str]:
    """Return the specifications of one option for _arguments."""
    text = option.help.replace("[", "(").replace("]", ")")
    values = f"({' '.join(option.choices)})" if option.choices else "_default"
    ending = f":{_colons(option.value)}:{values}" if option.value else ""
    return [f"{name}[{_colons(text)}]{ending}" for name in option.names] or [ending]


def fish(commands: Sequence[Command]) -> str:
    """Return the script for fish."""
    lines = ["complete -c skewguard -n __fish_use_subcommand -f"]
    for command in commands:
        lines.append(
            f"complete -c skewguard -n __fish_use_subcommand -f -a {command.name} -d {_quoted_fish(command.help)}"
        )
        inside = f"complete -c skewguard -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            if not option.names:
                lines.append(f"{inside} -f -a {_quoted_fish(' '.join(option.choices))}")
                continue
            kinds = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            value = (
                f" -x -a {_quoted_fish(' '.join(option.choices))}" if option.choices else " -r" if option.value else ""
            )
            lines.append(f"{inside} {' '.join(kinds)}{value} -d {_quoted_fish(option.help)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _quoted_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _colons(text: str) -> str:
    return text.replace(":", "\\:")
