"""Drive a robot with a learned policy, as a contract says or with image, joint_states and force -> action."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rclpy.service import Service
from std_srvs.srv import SetBool

from perf_inference.bringup.tuning import RESTARTED
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.policy.contract.given import contract_of, warn_of_replaced
from perf_inference.nodes.policy.parameters import PolicyParameters
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros import runner
from perf_inference.safety.process.activity import INACTIVE

if TYPE_CHECKING:
    from perf_inference.nodes.policy.contract.driver import ContractDriver
    from perf_inference.nodes.policy.joint_driver import JointDriver


class PolicyNode(ManagedNode):
    """A driver while it is configured, and the state that its gate is told of."""

    def __init__(self, name: str = "policy_node") -> None:
        super().__init__(name, PolicyParameters)
        self._driver: ContractDriver | JointDriver | None = None
        self._refusing: Service | None = None
        self._was_in_shadow = False  # so it stays, through a cleanup
        if not self.started_as.autostart:
            self.cleaned_up()

    def configure(self) -> Work:
        p: PolicyParameters = self.parameters
        self.parameters = p = replace(p, shadow=p.shadow or self._was_in_shadow)
        contract = yield lambda: contract_of(p)
        if contract is None:
            from perf_inference.nodes.policy.joint_driver import JointDriver

            self._driver = JointDriver(self)
        else:
            from perf_inference.nodes.policy.contract.driver import ContractDriver

            warn_of_replaced(self, contract)
            self._driver = ContractDriver(self, contract)
        if self._refusing is not None:  # from now on the gate answers
            self.destroy_service(self._refusing)
            self._refusing = None
        restarted = p.enabled and bool(os.environ.get(RESTARTED)) and not p.enabled_after_restart
        if p.enabled and not self.goes_on:
            self.get_logger().warning(
                f"enabled: true is for a start by itself: {self.get_fully_qualified_name()}/enable is to be called "
                "when the node is active"
            )
        yield from self._driver.configure(p.enabled and self.goes_on and not restarted, restarted)

    def activate(self) -> None:
        assert self._driver is not None
        self._driver.activate()
        self._driver.gates.activate()

    def deactivate(self) -> Work:
        """Have the gate send the safe action first."""
        assert self._driver is not None
        yield from self._driver.gates.deactivate()
        self._driver.deactivate()

    def listen(self, on: bool) -> Work:
        assert self._driver is not None
        return self._driver.inference.listen(on)

    def report(self) -> Report:
        assert self._driver is not None
        return self._driver.inference.report()

    def cleaned_up(self) -> None:
        """Answer who wants to enable it, in place of the gate."""
        self._was_in_shadow = self._driver is not None and self._driver.gates.in_shadow
        self._driver = None
        self._refusing = self._refusing or self.create_service(SetBool, "~/enable", self._refuse)

    def stop(self) -> None:
        if self._driver is not None:
            self._driver.stop()

    def _refuse(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = not request.data
        response.message = f"not enabled: {INACTIVE}" if request.data else "disabled: no action is sent"
        return response


def main() -> None:
    """Run the node."""
    runner.main(PolicyNode)


if __name__ == "__main__":
    main()
