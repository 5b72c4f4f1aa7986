"""Settings and feature flags of the cluster; sensitive values are sealed before they leave the node."""
