"""Experts, which provide actions and labels: scripted, Stable-Baselines3, distil's own policies, the user's, random."""


def catalogue() -> dict[str, str]:
    """Return setting -> description for each kind of expert, and for each scripted expert with its environments."""
    from distil.experts.config import KINDS
    from distil.experts.scripted import environments

    kinds = {config.model_fields["kind"].default: (config.__doc__ or "").splitlines()[0] for config in KINDS}
    scripted = {f"scripted name={name}": f"For {', '.join(ids)}." for name, ids in environments().items()}
    return {f"kind={kind}": text for kind, text in kinds.items()} | {f"kind={name}": text for name, text in scripted.items()}
